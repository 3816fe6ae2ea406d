"""Are the cases enough, whole and fresh, and does the model mean what it says of each slice?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipelines.evaluation.gates.inputs import GateInputs
from pipelines.evaluation.gates.verdict import Limits, Verdict, at_most, worst_verdict
from usecase.evaluation import calibration_gap, cost_per_1000


def data_is_sound(evidence: GateInputs, limits: Limits) -> Verdict:
    """Enough cases on both sides, and labels that are fresh at the moment of training."""
    gate = "data is sound"
    age = pd.Timestamp(evidence.manifest["as_of"]) - pd.Timestamp(evidence.manifest["newest_label"])
    days = age / pd.Timedelta(days=1)
    counts = {side: evidence.manifest[f"n_{side}"] for side in ("train", "holdout")}
    for side, count in counts.items():
        if count < limits[f"min_{side}"]:
            told = f"cases in {side}, at least"
            return Verdict(gate, False, count, limits[f"min_{side}"], told)
    if days < 0:
        told = "days from the newest label to the training: it was not known yet"
        return Verdict(gate, False, days, 0.0, told)
    return at_most(gate, days, limits["max_label_age_days"], "age of newest label, days")


def data_is_valid(evidence: GateInputs, limits: Limits) -> Verdict:
    """Every case once, with a label of 0 or 1 and its columns; no value infinite, no column empty.

    What the recipe's own rules let through and a join may still have broken.
    """
    frame, gate = evidence.frame, "data is valid"
    if absent := sorted({"key", "decision_time", "label", *evidence.columns} - set(frame)):
        return Verdict(gate, False, float(len(absent)), 0.0, f"columns that are absent: {absent}")
    numbers = frame[list(evidence.columns)].select_dtypes("number")
    broken = {
        "cases more than once": int(frame["key"].duplicated().sum()),
        "labels other than 0 and 1": int((~frame["label"].isin([0, 1])).sum()),
        "infinite values": int(np.isinf(numbers.to_numpy(dtype="float64")).sum()),
        "columns without any value": int(frame[list(evidence.columns)].isna().all().sum()),
    }
    found = {name: count for name, count in broken.items() if count}
    told = ", ".join(f"{name}: {count:,}" for name, count in found.items())
    return at_most(gate, sum(found.values()), 0.0, told or f"faults in {len(frame):,} cases")


def calibrated(evidence: GateInputs, limits: Limits) -> Verdict:
    """Mean prediction near the mean outcome, on the newest weeks."""
    gap = calibration_gap(evidence.y, evidence.candidate)
    return at_most("calibrated", gap, limits["max_calibration_gap"], "|mean prediction - rate|")


def calibrated_in_slices(evidence: GateInputs, limits: Limits) -> Verdict:
    """The same in every slice: on average right may be wrong on each of two halves."""
    found = [
        at_most("calibrated in slices", calibration_gap(evidence.y[rows], evidence.candidate[rows]),
                limits["max_slice_calibration_gap"], f"|mean prediction - rate| of {name}")
        for name, rows in evidence.parts(limits["min_slice"])
    ]  # fmt: skip
    return worst_verdict("calibrated in slices", found)


def slices_hold(evidence: GateInputs, limits: Limits) -> Verdict:
    """In no slice with enough cases is the cost far above the baseline's on that slice."""
    found = []
    for name, rows in evidence.parts(limits["min_slice"]):
        own = cost_per_1000(evidence.y[rows], evidence.candidate[rows], evidence.costs)
        other = cost_per_1000(evidence.y[rows], evidence.baseline[rows], evidence.costs)
        told = f"cost against the baseline's in the worst slice, {name}"
        limit = limits["max_slice_ratio"]
        found.append(at_most("slices hold", own / max(other, 1.0), limit, told))
    return worst_verdict("slices hold", found)


def errors_are_even(evidence: GateInputs, limits: Limits) -> Verdict:
    """No slice has far more false alarms or misses than its own probabilities announce.

    Where outcomes truly differ, so do the rates of alarms, and with them both error rates: of a
    model that is right. So each rate is held against what it would be if the probabilities of the
    slice were right, and the rate of alarms is told beside the base rate and not judged.
    """
    prob, y = evidence.candidate, evidence.y == 1
    alarm = prob >= evidence.costs["threshold"]
    found = []
    for name, rows in evidence.parts(limits["min_slice"]):
        told = f"{name}: alarms {alarm[rows].mean():.2f}, base rate {y[rows].mean():.2f}"
        for kind, wrong, truth, chance in (
            ("false alarms", alarm, ~y, 1 - prob), ("misses", ~alarm, y, prob),
        ):  # fmt: skip
            if (of := rows & truth).sum() < limits["min_slice_errors"]:
                continue
            announced = float((wrong * chance)[rows].sum() / chance[rows].sum())
            excess = float(wrong[of].mean()) - announced
            what = f"rate of {kind} above the announced {announced:.2f}, {told}"
            limit = limits["max_error_excess"]
            found.append(at_most("errors are even", excess, limit, what))
    return worst_verdict("errors are even", found)


def behaves(evidence: GateInputs, limits: Limits) -> Verdict:
    """Every behaviour of the use case holds; told is the one that fails, or the closest call."""
    from usecase.evaluation import behaviours

    sample = evidence.frame.sample(
        min(len(evidence.frame), limits["behaviour_rows"]), random_state=evidence.seed
    )
    found = behaviours(evidence.predict, sample, dict(limits))
    return worst_verdict(
        "behaves",
        [Verdict("behaves", bool(each["passed"]), each["value"], each["limit"], name)
         for name, each in found.items()],
    )  # fmt: skip
