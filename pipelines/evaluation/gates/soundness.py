"""Gates on the data, calibration, slices and behaviour of a candidate, and against leaks."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from monitoring.measures.scores import calibration_gap, cost_per_1000, metrics
from pipelines.evaluation.gates.verdict import (
    GateInputs,
    Limits,
    Verdict,
    at_most,
    judge_behaviours,
    none_stated,
    worst_verdict,
)


def data_is_sound(inputs: GateInputs, limits: Limits) -> Verdict:
    """Training and holdout have enough cases, and labels are fresh at the time of training."""
    manifest = inputs.manifest
    for side in ("train", "holdout"):
        count, least = manifest[f"n_{side}"], limits[f"min_{side}"]
        if count < least:
            return Verdict(False, count, least, f"cases in {side}, at least")
    age = pd.Timestamp(manifest["as_of"]) - pd.Timestamp(manifest["newest_label"])
    days = age / pd.Timedelta(days=1)
    if days < 0:
        text = "days from the newest label to the training: the label was not known yet"
        return Verdict(False, days, 0.0, text)
    return at_most(days, limits["max_label_age_days"], "age of newest label, days")


def data_is_valid(inputs: GateInputs, limits: Limits) -> Verdict:
    """Cases are unique, with labels 0 or 1; no column is absent or empty, no value infinite.

    This finds faults of the joins, which come after the validation of batches.
    """
    frame = inputs.frame
    if absent := sorted({"key", "decision_time", "label", *inputs.columns} - set(frame)):
        return Verdict(False, float(len(absent)), 0.0, f"absent columns: {absent}")
    columns = frame[list(inputs.columns)]
    numbers = columns.select_dtypes("number").to_numpy(dtype="float64")
    faults = {
        "cases more than once": int(frame["key"].duplicated().sum()),
        "labels other than 0 and 1": int((~frame["label"].isin([0, 1])).sum()),
        "infinite values": int(np.isinf(numbers).sum()),
        "columns without any value": int(columns.isna().all().sum()),
    }
    text = ", ".join(f"{name}: {count:,}" for name, count in faults.items() if count)
    return at_most(sum(faults.values()), 0.0, text or f"faults in {len(frame):,} cases")


def calibrated(inputs: GateInputs, limits: Limits) -> Verdict:
    """The mean prediction on the holdout is near the mean outcome."""
    gap = calibration_gap(inputs.y, inputs.candidate)
    return at_most(gap, limits["max_calibration_gap"], "|mean prediction - rate|")


def calibrated_in_slices(inputs: GateInputs, limits: Limits) -> Verdict:
    """The same holds in every slice: errors of two halves may cancel in the mean."""
    if not inputs.slices:
        return none_stated("slices")
    return worst_verdict([
        at_most(calibration_gap(inputs.y[rows], inputs.candidate[rows]),
                limits["max_slice_calibration_gap"], f"|mean prediction - rate| of {name}")
        for name, rows in inputs.pooled_slices(limits["min_slice"])
    ])  # fmt: skip


def slices_hold(inputs: GateInputs, limits: Limits) -> Verdict:
    """In no slice with enough cases is the cost far above the baseline's."""
    if not inputs.slices:
        return none_stated("slices")
    verdicts = []
    for name, rows in inputs.pooled_slices(limits["min_slice"]):
        own, other = (
            cost_per_1000(inputs.y[rows], prob[rows], inputs.costs)
            for prob in (inputs.candidate, inputs.baseline)
        )
        text = f"cost as a multiple of the baseline's in the worst slice, {name}"
        verdicts.append(at_most(own / max(other, 1.0), limits["max_slice_ratio"], text))
    return worst_verdict(verdicts)


def errors_are_even(inputs: GateInputs, limits: Limits) -> Verdict:
    """No slice has far more false alarms or misses than its own probabilities predict.

    Where base rates differ, a correct model has different rates of alarms and errors. So each
    error rate is compared with its expected value if the probabilities of the slice are right.
    The rate of alarms is reported beside the base rate and not judged.
    """
    if not inputs.slices:
        return none_stated("slices")
    prob, y = inputs.candidate, inputs.y == 1
    alarm = prob >= inputs.costs["threshold"]
    kinds = (("false alarms", alarm, ~y, 1 - prob), ("misses", ~alarm, y, prob))
    verdicts = []
    for name, rows in inputs.pooled_slices(limits["min_slice"]):
        for kind, wrong, truth, error_prob in kinds:
            if (affected := rows & truth).sum() < limits["min_slice_errors"]:
                continue
            predicted = float((wrong * error_prob)[rows].sum() / error_prob[rows].sum())
            text = (
                f"rate of {kind} above the predicted {predicted:.2f}, {name}: "
                f"alarms {alarm[rows].mean():.2f}, base rate {y[rows].mean():.2f}"
            )
            excess = float(wrong[affected].mean()) - predicted
            verdicts.append(at_most(excess, limits["max_error_excess"], text))
    return worst_verdict(verdicts)


def behaves(inputs: GateInputs, limits: Limits) -> Verdict:
    """Every behaviour of the use case holds; `told` names the one that fails or passes narrowly."""
    return judge_behaviours(inputs.behaviours, inputs.predict, inputs.frame, limits, inputs.seed)


def not_too_good_to_be_true(inputs: GateInputs, limits: Limits) -> Verdict:
    """AUC is not far above the field's best known results, which would suggest a leak."""
    auc = metrics(inputs.y, inputs.candidate, inputs.costs)["auc"]
    return at_most(auc, limits["max_auc"], "AUC on the holdout")


def no_column_too_good(inputs: GateInputs, limits: Limits) -> Verdict:
    """No single column ranks the cases nearly as well as a model should."""
    verdicts = []
    for name in inputs.columns:
        auc = float(roc_auc_score(inputs.y, _ranking(inputs.frame[name], inputs.y)))
        text = f"AUC of {name} alone, the best of {len(inputs.columns)} columns"
        verdicts.append(at_most(max(auc, 1 - auc), limits["max_column_auc"], text))
    return worst_verdict(verdicts)


def no_value_tells(inputs: GateInputs, limits: Limits) -> Verdict:
    """No missing value and no single value of a column occurs only with the rarer outcome.

    A column that hardly ranks the cases may still reveal a few of them. For example, a value may
    be missing because of the outcome. Many cases of one bad hour share a value, so rates are
    averaged over days. A value on fewer than `min_days` days is not a pattern.
    """
    y = inputs.y == (1 if inputs.y.mean() < 0.5 else 0)
    days, _ = pd.factorize(inputs.days)
    verdicts = []
    for name in inputs.columns:
        codes, values = pd.factorize(inputs.frame[name], use_na_sentinel=False)
        counts = np.bincount(codes)
        daily = pd.Series(y).groupby([codes, days]).mean().groupby(level=0).agg(["mean", "count"])
        for code in np.flatnonzero(counts >= limits["min_value_cases"]):
            rate, n_days = daily.loc[code]
            if n_days >= limits["min_days"]:
                value = "no value" if pd.isna(values[code]) else f"the value {values[code]}"
                text = f"rarer outcome's daily share, {counts[code]:,} cases with {value} in {name}"
                verdicts.append(at_most(rate, limits["max_value_rate"], text))
    if inputs.columns and not verdicts:
        text = f"no value and no gap occurs in {limits['min_value_cases']} cases on enough days"
        return at_most(0.0, limits["max_value_rate"], text)
    return worst_verdict(verdicts)


def _ranking(values: pd.Series, y: np.ndarray) -> np.ndarray:
    """Return numbers with gaps at the median, and texts as the rate of the cases that have them."""
    if pd.api.types.is_numeric_dtype(values):
        return values.fillna(values.median()).fillna(0.0).to_numpy(dtype="float64")
    label = pd.Series(y, index=values.index)
    return label.groupby(values.fillna("")).transform("mean").to_numpy()
