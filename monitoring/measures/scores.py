"""Metrics, costs and calibration of probabilities, and the bootstrap of days."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

Floats = npt.NDArray[np.float64]


def metrics(y: npt.ArrayLike, p: npt.ArrayLike, costs: dict[str, float]) -> dict[str, float]:
    """Return all metrics of probabilities `p` against labels `y`, both of shape (n,).

    Raise `ValueError` if a probability is missing or outside 0 to 1, or only one label occurs.
    """
    truth, prob = np.asarray(y, dtype="float64"), np.asarray(p, dtype="float64")
    if not np.all((prob >= 0) & (prob <= 1)):
        raise ValueError("Probabilities must be between 0 and 1, and none may be missing.")
    if len(np.unique(truth)) < 2:
        raise ValueError("Only one label occurs, so the metrics are undefined.")
    return {
        "auc": float(roc_auc_score(truth, prob)),
        "log_loss": float(log_loss(truth, prob)),
        "brier": float(brier_score_loss(truth, prob)),
        "calibration_gap": calibration_gap(truth, prob),
        "calibration_error": calibration_error(truth, prob),
        "cost_per_1000": cost_per_1000(truth, prob, costs),
        "positive_rate": float(np.mean(prob >= costs["threshold"])),
        "base_rate": float(np.mean(truth)),
        "n": float(len(truth)),
    }


def case_costs(y: npt.ArrayLike, p: npt.ArrayLike, costs: dict[str, float]) -> Floats:
    """Return the cost of the decision on each case, shape (n,), in units of one false alarm."""
    truth = np.asarray(y, dtype="float64") == 1
    alarm = np.asarray(p, dtype="float64") >= costs["threshold"]
    return np.where(alarm & ~truth, costs["false_alarm"], 0.0) + np.where(
        ~alarm & truth, costs["miss"], 0.0
    )


def expected_costs(p: npt.ArrayLike, costs: dict[str, float]) -> Floats:
    """Return the expected cost of each decision if its probability is right, shape (n,)."""
    prob = np.asarray(p, dtype="float64")
    alarm = prob >= costs["threshold"]
    return np.where(alarm, (1 - prob) * costs["false_alarm"], prob * costs["miss"])


def constant_costs(y: npt.ArrayLike, costs: dict[str, float]) -> Floats:
    """Return the costs, shape (n,), of always or never warning, whichever is cheaper in total."""
    truth = np.asarray(y, dtype="float64")
    always, never = (case_costs(truth, np.full(len(truth), p), costs) for p in (1.0, 0.0))
    return always if always.sum() <= never.sum() else never


def cost_per_1000(y: npt.ArrayLike, p: npt.ArrayLike, costs: dict[str, float]) -> float:
    """Return the cost per 1,000 cases, in units of one false alarm."""
    return float(1000 * np.mean(case_costs(y, p, costs)))


def calibration_gap(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return |mean prediction - mean outcome|: calibration in the large."""
    return float(abs(np.mean(np.asarray(p, float)) - np.mean(np.asarray(y, float))))


def calibration_error(y: npt.ArrayLike, p: npt.ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal size (Naeini et al., 2015)."""
    truth, prob = np.asarray(y, float), np.asarray(p, float)
    parts = np.array_split(np.argsort(prob, kind="stable"), bins)
    gaps = [len(part) * abs(prob[part].mean() - truth[part].mean()) for part in parts if len(part)]
    return float(sum(gaps) / len(truth))


def day_bootstrap(
    values: Floats, days: pd.Series, seed: int, draws: int = 1000, level: float = 0.9
) -> tuple[float, float]:
    """Return the interval of the mean of `values` (n,) from a bootstrap of whole days."""
    means = day_means(values, days, seed, draws)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def day_means(values: Floats, days: pd.Series, seed: int, draws: int = 1000) -> Floats:
    """Return the means of `values` (n,), one per draw of whole days with replacement.

    Days are independent, cases within a day are not (block bootstrap, Efron & Tibshirani 1993,
    ch. 8).
    """
    codes, _ = pd.factorize(days)
    totals, counts = np.bincount(codes, weights=values), np.bincount(codes)
    drawn = np.random.default_rng(seed).integers(len(totals), size=(draws, len(totals)))
    return np.asarray(totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
