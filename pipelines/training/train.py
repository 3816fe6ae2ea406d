"""Recipe stage: fit the candidates on the past and predict the unseen holdout."""

import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contract import UseCase
from features import durable_files, partitions
from pipelines.runtime import stage_command
from pipelines.training import assemble
from pipelines.training.training_files import TrainingFiles
from settings import LoopError, Settings


def train_candidates(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Write each fitted model and all predictions on the holdout to `data/<name>/candidates/`."""
    files = TrainingFiles(settings.root, settings.use_case)
    folder = settings.data / "candidates"
    known, holdout = assemble.split_holdout(files.frame, files.manifest)
    shutil.rmtree(folder, ignore_errors=True)
    return fit_candidates(settings.use_case, known, holdout, settings.params(), folder)


def fit_candidates(
    use_case: UseCase, known: pd.DataFrame, holdout: pd.DataFrame, params: dict[str, Any],
    folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """Fit each candidate on `known`; write it and its predictions on `holdout` to `folder`.

    The summary of each fit is returned, and written last: `candidates.json`. Raise `LoopError` for
    cases that no candidate can be fitted on.
    """
    from serving.models import skops_file

    if problems := describe_unfit(use_case, known):
        raise LoopError(
            f"No model can be trained on these {len(known):,} cases: {'; '.join(problems)}. Train "
            f"on more days, or correct the features or labels in {use_case.folder}."
        )
    predictions = holdout[["key", "decision_time", "label"]].copy()
    predictions["baseline"] = use_case.baseline(known, holdout)
    summary = {}
    for name, (model, space) in use_case.candidates(params).items():
        print(f"fitting {name} on {len(known):,} cases", flush=True)
        fitted, summary[name] = fit_candidate(use_case, model, space, known, params)
        predictions[name] = probabilities(fitted, holdout)
        durable_files.write_file(folder / f"{name}.skops", skops_file.dump_skops(fitted))
    partitions.write_partition(predictions, folder / "predictions.parquet")
    durable_files.write_json(folder / "candidates.json", summary)
    return summary


def fit_candidate(
    use_case: UseCase, model: Any, space: dict[str, Any], known: pd.DataFrame,
    params: dict[str, Any],
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """Fit the model on `known`, with the best parameters of a time-ordered random search.

    Return it with a summary: chosen parameters, every draw with its log-loss, seconds. Cases must
    be in the order of decision times, because each fold is validated on the cases after it.
    """
    from joblib import parallel_config
    from sklearn.model_selection import RandomizedSearchCV

    started, trials = time.perf_counter(), []
    X, y = known[use_case.features], known["label"]
    if not space:
        fitted = model.fit(X, y)
    else:
        search = RandomizedSearchCV(
            model, space, n_iter=params["training"]["search"]["n_iter"],
            scoring="neg_log_loss", cv=usable_folds(use_case, known, params["training"]["folds"]),
            random_state=params["seed"], error_score="raise", n_jobs=-1,
        )  # fmt: skip
        # Fits release the GIL, so threads are enough. One draw per thread is faster than one draw
        # on all cores, where threads wait for each other half of the time.
        with parallel_config(backend="threading"):
            search.fit(X, y)
        fitted, found = search.best_estimator_, search.cv_results_
        columns = found["params"], found["mean_test_score"], found["std_test_score"]
        trials = [
            {"params": dict(drawn), "log_loss": -float(score), "spread": float(spread)}
            for drawn, score, spread in zip(*columns, strict=True)
        ]
    return fitted, {
        "params": {name: fitted.get_params()[name] for name in space}, "trials": trials,
        "n_train": len(known), "seed": params["seed"],
        "seconds": round(time.perf_counter() - started, 3),
    }  # fmt: skip


def usable_folds(
    use_case: UseCase, known: pd.DataFrame, n_folds: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the folds in order of time, without those that can't be fitted or scored.

    A column that is new in the source has no value in the first ones. Raise `LoopError` if no fold
    is left.
    """
    from sklearn.model_selection import TimeSeriesSplit

    folds, problems = [], []
    if len(known) <= n_folds:
        raise LoopError(f"{len(known)} cases are too few for {n_folds} folds. Train on more days.")
    for number, (rows, unseen) in enumerate(TimeSeriesSplit(n_folds).split(known), 1):
        found = describe_unfit(use_case, known.iloc[rows])
        if known["label"].iloc[unseen].nunique() < 2:
            found.append("all cases to be scored have the same label")
        if found:
            problems.append(f"fold {number} of {n_folds} is left out: {'; '.join(found)}")
        else:
            folds.append((rows, unseen))
    print("\n".join(problems), end="\n" if problems else "", flush=True)
    if not folds:
        raise LoopError(
            f"No fold can be trained: {'. '.join(problems)}. Train on more days, or with fewer "
            "folds (the parameter training.folds)."
        )
    return folds


def describe_unfit(use_case: UseCase, cases: pd.DataFrame) -> list[str]:
    """Return why no candidate can be fitted on these cases; scikit-learn names no column."""
    numbers = use_case.numbers
    values = cases[list(numbers)].to_numpy("float64")
    empty, infinite = np.isnan(values).all(axis=0), np.isinf(values).any(axis=0)
    problems = [f"{name} has no value" for name, each in zip(numbers, empty, strict=True) if each]
    problems += [
        f"{name} is infinite" for name, each in zip(numbers, infinite, strict=True) if each
    ]
    if cases["label"].nunique() < 2:
        problems.append("all have the same label")
    return problems


def probabilities(model: Any, rows: pd.DataFrame) -> np.ndarray:
    """Return the probabilities of a fitted candidate on `rows`, shape (n_rows,)."""
    return np.asarray(model.predict_proba(rows[list(model.feature_names_in_)])[:, 1])


if __name__ == "__main__":
    stage_command.run_stage_command(train_candidates)
