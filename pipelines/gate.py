"""May this candidate be registered? Gates are pure; one that could not run has failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipelines.verdict import Limits, Verdict, at_most
from usecase.evaluation import (
    calibration_gap,
    case_costs,
    cost_per_1000,
    day_bootstrap,
    metrics,
)


@dataclass(frozen=True)
class Evidence:
    """The holdout as the gates see it; every array is of shape (n_cases,), in the same order.

    `frame` has the model's columns, `label` and `decision_time`; `champion` is None where there is
    none to compare with; `predict` asks the candidate about changed rows.
    """

    frame: pd.DataFrame
    candidate: np.ndarray
    baseline: np.ndarray
    champion: np.ndarray | None
    predict: Callable[[pd.DataFrame], np.ndarray]
    slices: Mapping[str, pd.Series]
    manifest: Mapping[str, Any]
    costs: dict[str, float]
    seed: int

    @property
    def y(self) -> np.ndarray:
        return self.frame["label"].to_numpy()


def data_is_sound(evidence: Evidence, limits: Limits) -> Verdict:
    """Enough cases on both sides, and labels that are fresh at the moment of training."""
    age = pd.Timestamp(evidence.manifest["as_of"]) - pd.Timestamp(evidence.manifest["newest_label"])
    days = age / pd.Timedelta(days=1)
    counts = {side: evidence.manifest[f"n_{side}"] for side in ("train", "holdout")}
    for side, count in counts.items():
        if count < limits[f"min_{side}"]:
            return Verdict(
                "data is sound", False, count, limits[f"min_{side}"], f"cases in {side}, at least"
            )
    if days < 0:
        told = "days from the newest label to the training: it was not known yet"
        return Verdict("data is sound", False, days, 0.0, told)
    return at_most("data is sound", days, limits["max_label_age_days"], "age of newest label, days")


def beats_baseline(evidence: Evidence, limits: Limits) -> Verdict:
    """Cheaper than the no-model rate by a stated share."""
    own = cost_per_1000(evidence.y, evidence.candidate, evidence.costs)
    other = cost_per_1000(evidence.y, evidence.baseline, evidence.costs)
    limit = other * (1 - limits["min_saving"])
    return at_most(
        "beats the baseline", own, limit, f"cost per 1,000; the baseline's is {other:.0f}"
    )


def not_worse_than_champion(evidence: Evidence, limits: Limits) -> Verdict:
    """Cost on the same rows not above the champion's by more than the margin.

    The evidence carries a 90% interval of the difference by a paired bootstrap over days.
    """
    gate = "not worse than the champion"
    if evidence.champion is None:
        return Verdict(
            gate, True, None, limits["margin_cost"], "no champion yet: nothing to compare"
        )
    difference = 1000 * (
        case_costs(evidence.y, evidence.candidate, evidence.costs)
        - case_costs(evidence.y, evidence.champion, evidence.costs)
    )
    days = evidence.frame["decision_time"].dt.floor("D")
    low, high = day_bootstrap(difference, days, evidence.seed)
    told = f"difference in cost per 1,000; 90% interval {low:+.1f} to {high:+.1f}"
    return at_most(gate, float(difference.mean()), limits["margin_cost"], told)


def log_loss_holds(evidence: Evidence, limits: Limits) -> Verdict:
    """Log-loss not above the champion's (or the baseline's) by more than the margin."""
    against, other = ("champion", evidence.champion)
    if other is None:
        against, other = "baseline", evidence.baseline
    own = metrics(evidence.y, evidence.candidate, evidence.costs)["log_loss"]
    theirs = metrics(evidence.y, other, evidence.costs)["log_loss"]
    limit = theirs + (limits["margin_log_loss"] if against == "champion" else 0.0)
    return at_most("log-loss holds", own, limit, f"log-loss; the {against}'s is {theirs:.4f}")


def calibrated(evidence: Evidence, limits: Limits) -> Verdict:
    """Mean prediction near the mean outcome, on the newest weeks."""
    gap = calibration_gap(evidence.y, evidence.candidate)
    return at_most("calibrated", gap, limits["max_calibration_gap"], "|mean prediction - rate|")


def slices_hold(evidence: Evidence, limits: Limits) -> Verdict:
    """In no slice with enough cases is the cost far above the baseline's on that slice."""
    worst, name = -np.inf, "no slice with enough cases"
    for kind, values in evidence.slices.items():
        for value in sorted(values.unique()):
            rows = (values == value).to_numpy()
            if rows.sum() < limits["min_slice"]:
                continue
            own = cost_per_1000(evidence.y[rows], evidence.candidate[rows], evidence.costs)
            other = cost_per_1000(evidence.y[rows], evidence.baseline[rows], evidence.costs)
            if own / max(other, 1.0) > worst:
                worst, name = own / max(other, 1.0), f"{kind} {value} ({rows.sum():,} cases)"
    if worst == -np.inf:
        return Verdict("slices hold", False, None, None, f"{name}: this gate could not run")
    told = f"cost against the baseline's in the worst slice, {name}"
    return at_most("slices hold", worst, limits["max_slice_ratio"], told)


def not_too_good(evidence: Evidence, limits: Limits) -> Verdict:
    """A result well above what the field knows is a leak until shown otherwise."""
    auc = metrics(evidence.y, evidence.candidate, evidence.costs)["auc"]
    return at_most("not too good to be true", auc, limits["max_auc"], "AUC on the holdout")


def behaves(evidence: Evidence, limits: Limits) -> Verdict:
    """Every behaviour of the use case holds; told is the one that fails, or the closest call."""
    from usecase.evaluation import behaviours

    sample = evidence.frame.sample(
        min(len(evidence.frame), limits["behaviour_rows"]), random_state=evidence.seed
    )
    found = behaviours(evidence.predict, sample, dict(limits))
    verdicts = [
        Verdict("behaves", bool(each["passed"]), each["value"], each["limit"], name)
        for name, each in found.items()
    ]
    return min(verdicts, key=lambda verdict: (verdict.passed, verdict.margin))


GATES: tuple[Callable[[Evidence, Limits], Verdict], ...] = (
    data_is_sound, beats_baseline, not_worse_than_champion, log_loss_holds, calibrated,
    slices_hold, not_too_good, behaves,
)  # fmt: skip
