"""Gates on the data, calibration, slices and behaviour of a candidate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipelines.evaluation.gates.inputs import GateInputs
from pipelines.evaluation.gates.verdict import Limits, Verdict, at_most, worst_verdict
from usecase.evaluation import calibration_gap, cost_per_1000


def data_is_sound(inputs: GateInputs, limits: Limits) -> Verdict:
    """Training and holdout have enough cases, and labels are fresh at the time of training."""
    gate = "data is sound"
    age = pd.Timestamp(inputs.manifest["as_of"]) - pd.Timestamp(inputs.manifest["newest_label"])
    days = age / pd.Timedelta(days=1)
    counts = {side: inputs.manifest[f"n_{side}"] for side in ("train", "holdout")}
    for side, count in counts.items():
        if count < limits[f"min_{side}"]:
            text = f"cases in {side}, at least"
            return Verdict(gate, False, count, limits[f"min_{side}"], text)
    if days < 0:
        text = "days from the newest label to the training: the label was not known yet"
        return Verdict(gate, False, days, 0.0, text)
    return at_most(gate, days, limits["max_label_age_days"], "age of newest label, days")


def data_is_valid(inputs: GateInputs, limits: Limits) -> Verdict:
    """Cases are unique, with labels 0 or 1; no column is absent or empty, no value infinite.

    This finds faults of the joins, which come after the validation of batches.
    """
    frame, gate = inputs.frame, "data is valid"
    if absent := sorted({"key", "decision_time", "label", *inputs.columns} - set(frame)):
        return Verdict(gate, False, float(len(absent)), 0.0, f"absent columns: {absent}")
    numbers = frame[list(inputs.columns)].select_dtypes("number")
    broken = {
        "cases more than once": int(frame["key"].duplicated().sum()),
        "labels other than 0 and 1": int((~frame["label"].isin([0, 1])).sum()),
        "infinite values": int(np.isinf(numbers.to_numpy(dtype="float64")).sum()),
        "columns without any value": int(frame[list(inputs.columns)].isna().all().sum()),
    }
    faults = {name: count for name, count in broken.items() if count}
    text = ", ".join(f"{name}: {count:,}" for name, count in faults.items())
    return at_most(gate, sum(faults.values()), 0.0, text or f"faults in {len(frame):,} cases")


def calibrated(inputs: GateInputs, limits: Limits) -> Verdict:
    """The mean prediction on the holdout is near the mean outcome."""
    gap = calibration_gap(inputs.y, inputs.candidate)
    return at_most("calibrated", gap, limits["max_calibration_gap"], "|mean prediction - rate|")


def calibrated_in_slices(inputs: GateInputs, limits: Limits) -> Verdict:
    """The same holds in every slice: errors of two halves may cancel in the mean."""
    verdicts = [
        at_most("calibrated in slices", calibration_gap(inputs.y[rows], inputs.candidate[rows]),
                limits["max_slice_calibration_gap"], f"|mean prediction - rate| of {name}")
        for name, rows in inputs.pooled_slices(limits["min_slice"])
    ]  # fmt: skip
    return worst_verdict("calibrated in slices", verdicts)


def slices_hold(inputs: GateInputs, limits: Limits) -> Verdict:
    """In no slice with enough cases is the cost far above the baseline's."""
    verdicts = []
    for name, rows in inputs.pooled_slices(limits["min_slice"]):
        own = cost_per_1000(inputs.y[rows], inputs.candidate[rows], inputs.costs)
        other = cost_per_1000(inputs.y[rows], inputs.baseline[rows], inputs.costs)
        text = f"cost as a multiple of the baseline's in the worst slice, {name}"
        limit = limits["max_slice_ratio"]
        verdicts.append(at_most("slices hold", own / max(other, 1.0), limit, text))
    return worst_verdict("slices hold", verdicts)


def errors_are_even(inputs: GateInputs, limits: Limits) -> Verdict:
    """No slice has far more false alarms or misses than its own probabilities predict.

    Where base rates differ, a correct model has different rates of alarms and errors. So each
    error rate is compared with its expected value if the probabilities of the slice are right.
    The rate of alarms is reported beside the base rate and not judged.
    """
    prob, y = inputs.candidate, inputs.y == 1
    alarm = prob >= inputs.costs["threshold"]
    verdicts = []
    for name, rows in inputs.pooled_slices(limits["min_slice"]):
        text = f"{name}: alarms {alarm[rows].mean():.2f}, base rate {y[rows].mean():.2f}"
        for kind, wrong, truth, error_prob in (
            ("false alarms", alarm, ~y, 1 - prob), ("misses", ~alarm, y, prob),
        ):  # fmt: skip
            if (affected := rows & truth).sum() < limits["min_slice_errors"]:
                continue
            predicted = float((wrong * error_prob)[rows].sum() / error_prob[rows].sum())
            excess = float(wrong[affected].mean()) - predicted
            what = f"rate of {kind} above the predicted {predicted:.2f}, {text}"
            limit = limits["max_error_excess"]
            verdicts.append(at_most("errors are even", excess, limit, what))
    return worst_verdict("errors are even", verdicts)


def behaves(inputs: GateInputs, limits: Limits) -> Verdict:
    """Every behaviour of the use case holds; `told` names the one that fails or passes narrowly."""
    from usecase.evaluation import behaviours

    sample = inputs.frame.sample(
        min(len(inputs.frame), limits["behaviour_rows"]), random_state=inputs.seed
    )
    behaviour_results = behaviours(inputs.predict, sample, dict(limits))
    return worst_verdict(
        "behaves",
        [Verdict("behaves", bool(each["passed"]), each["value"], each["limit"], name)
         for name, each in behaviour_results.items()],
    )  # fmt: skip
