"""Facts for the model card, from the holdout: metric intervals, behaviours, feature importance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pipelines.training import assemble
from pipelines.training.train import read_holdout_predictions
from usecase import evaluation
from usecase.columns import FEATURES

SAMPLE_CASES = 1000  # more cases change the importance in the third digit only


def explanation_facts(path: Path, winner: str) -> dict[str, Any]:
    """Return `tried`, `intervals`, `behaviours` and `importance` of the training in `path`."""
    from serving.models import skops_file

    params = yaml.safe_load((path / "usecase" / "params.yaml").read_text())
    manifest = json.loads((path / "data" / "training" / "manifest.json").read_text())
    frame = pd.read_parquet(path / "data" / "training" / "training.parquet")
    holdout = assemble.split_holdout(frame, manifest)[1]
    scores = read_holdout_predictions(path / "data")[winner].to_numpy()
    model = skops_file.load_skops((path / "data" / "candidates" / f"{winner}.skops").read_bytes())
    tried = json.loads((path / "data" / "candidates" / "candidates.json").read_text())
    sample = holdout.sample(min(len(holdout), SAMPLE_CASES), random_state=params["seed"])
    return {
        "tried": {
            name: {"draws": max(1, len(each["trials"])), "params": each["params"]}
            for name, each in tried.items()
        },
        "intervals": metric_intervals(holdout, scores, params["costs"], params["seed"]),
        "behaviours": evaluation.behaviours(
            lambda rows: model.predict_proba(rows[FEATURES])[:, 1], sample, params["gates"]
        ),
        "importance": permutation_importances(model, sample, params["seed"]),
    }  # fmt: skip


def metric_intervals(
    holdout: pd.DataFrame, scores: np.ndarray, costs: dict[str, float], seed: int
) -> dict[str, tuple[float, float]]:
    """Return the 90% interval of each metric that is a mean over cases, by bootstrap of days."""
    y, days = holdout["label"].to_numpy(), holdout["decision_time"].dt.floor("D")
    of_label = np.where(y == 1, scores, 1 - scores)
    cases = {
        "log_loss": -np.log(np.clip(of_label, 1e-15, 1)),
        "brier": (scores - y) ** 2,
        "cost_per_1000": 1000 * evaluation.case_costs(y, scores, costs),
        "positive_rate": (scores >= costs["threshold"]).astype(float),
        "base_rate": y.astype(float),
    }
    return {name: evaluation.day_bootstrap(values, days, seed) for name, values in cases.items()}


def permutation_importances(
    model: Any, rows: pd.DataFrame, seed: int, repeats: int = 2
) -> dict[str, float]:
    """Return the rise of the log-loss when a column is shuffled, by column; largest first."""
    from sklearn.inspection import permutation_importance

    result = permutation_importance(
        model, rows[FEATURES], rows["label"], scoring="neg_log_loss", n_repeats=repeats,
        random_state=seed,
    )  # fmt: skip
    pairs = zip(FEATURES, map(float, result.importances_mean), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
