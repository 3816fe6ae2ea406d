"""Facts for the model card, from the holdout: metric intervals, behaviours, feature importance."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pipelines.evaluation.evaluate import predict_with
from pipelines.evaluation.gates.champion_and_baseline import case_log_losses
from pipelines.training.training_files import TrainingFiles
from usecase import evaluation
from usecase.columns import FEATURES

SAMPLE_CASES = 1000  # more cases change the importance in the third digit only


def explanation_facts(files: TrainingFiles, winner: str) -> dict[str, Any]:
    """Return `tried`, `intervals`, `behaviours` and `importance` of a training.

    The importance of a column is the rise of the log-loss when it is shuffled; largest first.
    """
    from sklearn.inspection import permutation_importance

    params, holdout, model = files.params, files.holdout, files.model(winner)
    scores, seed = files.scores[winner].to_numpy(), params["seed"]
    sample = holdout.sample(min(len(holdout), SAMPLE_CASES), random_state=seed)
    rises = permutation_importance(
        model, sample[FEATURES], sample["label"], scoring="neg_log_loss", n_repeats=2,
        random_state=seed,
    ).importances_mean  # fmt: skip
    importance = zip(FEATURES, map(float, rises), strict=True)
    return {
        "tried": {
            name: {"draws": max(1, len(each["trials"])), "params": each["params"]}
            for name, each in files.candidates.items()
        },
        "intervals": metric_intervals(holdout, scores, params["costs"], seed),
        "behaviours": evaluation.behaviours(partial(predict_with, model), sample, params["gates"]),
        "importance": dict(sorted(importance, key=lambda pair: -pair[1])),
    }


def metric_intervals(
    holdout: pd.DataFrame, scores: np.ndarray, costs: dict[str, float], seed: int
) -> dict[str, tuple[float, float]]:
    """Return the 90% interval of each metric that is a mean over cases, by bootstrap of days."""
    y, days = holdout["label"].to_numpy(), holdout["decision_time"].dt.floor("D")
    cases = {
        "log_loss": case_log_losses(y, scores),
        "brier": (scores - y) ** 2,
        "cost_per_1000": 1000 * evaluation.case_costs(y, scores, costs),
        "positive_rate": (scores >= costs["threshold"]).astype(float),
        "base_rate": y.astype(float),
    }
    return {name: evaluation.day_bootstrap(values, days, seed) for name, values in cases.items()}
