"""Recipe stage: fit the candidates on the past and predict the unseen holdout."""

from __future__ import annotations

import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features import durable_files
from pipelines.runtime import stage_command
from pipelines.training import assemble
from settings import Settings


def train_candidates(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Write each fitted model and all predictions on the holdout to `data/candidates/`.

    Fit only on cases whose label was known before the holdout's start.
    """
    from serving.models import skops_file
    from usecase.columns import FEATURES
    from usecase.model import baseline, build_candidates

    params = settings.params()
    frame, manifest = assemble.load_training_set(settings)
    known, holdout = assemble.split_holdout(frame, manifest)
    folder = settings.data / "candidates"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    predictions = holdout[["key", "decision_time", "label"]].copy()
    predictions["baseline"] = baseline(known, holdout)
    summary = {}
    for name, (model, space) in build_candidates(params).items():
        print(f"fitting {name} on {len(known):,} cases", flush=True)
        fitted, summary[name] = fit_candidate(model, space, known, params)
        predictions[name] = fitted.predict_proba(holdout[FEATURES])[:, 1]
        durable_files.write_file(folder / f"{name}.skops", skops_file.dump_skops(fitted))
    with durable_files.atomic_replace(folder / "predictions.parquet") as unfinished:
        predictions.to_parquet(unfinished, index=False)
    durable_files.write_json(folder / "candidates.json", summary)
    return summary


def fit_candidate(
    model: Any, space: dict[str, Any], known: pd.DataFrame, params: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Fit the model on `known`, with the best parameters of a time-ordered random search.

    Return it with a summary: chosen parameters, every draw with its log-loss, seconds. Cases must
    be in the order of decision times, because each fold is validated on the cases after it.
    """
    from joblib import parallel_config
    from sklearn.model_selection import RandomizedSearchCV, TimeSeriesSplit

    from usecase.columns import FEATURES

    started = time.perf_counter()
    X, y = known[FEATURES], known["label"]
    if not space:
        fitted, trials = model.fit(X, y), []
    else:
        search = RandomizedSearchCV(
            model, space, n_iter=params["training"]["search"]["n_iter"],
            scoring="neg_log_loss", cv=TimeSeriesSplit(params["training"]["folds"]),
            random_state=params["seed"], error_score="raise", n_jobs=-1,
        )  # fmt: skip
        # Fits release the GIL, so threads are enough. One draw per thread is faster than one draw
        # on all cores, where threads wait for each other half of the time.
        with parallel_config(backend="threading"):
            search.fit(X, y)
        fitted, trials = search.best_estimator_, _trials(search.cv_results_)
    chosen = {name: fitted.get_params()[name] for name in space}
    return fitted, {
        "params": chosen, "trials": trials, "n_train": len(known), "seed": params["seed"],
        "seconds": round(time.perf_counter() - started, 3),
    }  # fmt: skip


def _trials(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"params": dict(drawn), "log_loss": -float(score), "spread": float(spread)}
        for drawn, score, spread in zip(
            results["params"], results["mean_test_score"], results["std_test_score"], strict=True
        )
    ]


def read_holdout_predictions(data: Path) -> pd.DataFrame:
    """Return `key`, `decision_time`, `label` and one probability per candidate, by holdout case."""
    return pd.read_parquet(data / "candidates" / "predictions.parquet")


if __name__ == "__main__":
    stage_command.run_stage_command(train_candidates)
