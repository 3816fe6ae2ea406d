"""The triggers of a retraining: when each fires, as pure checks of the evidence.

A trigger fires when its value is over its limit in the policy (`monitoring.policy` of the
parameters). It asks for a retraining if the policy lists it in `triggers`; `retraining_decision.py`
then decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from monitoring.evidence import MonitoringEvidence

DAY = timedelta(days=1)
# Each trigger with the setting that limits its value.
TRIGGER_LIMITS = {
    "schedule": "every_days",  # age of the champion's data in days; fires at the limit, too
    "calibration": "max_calibration_gap",  # mean prediction - mean label, absolute
    "performance": "max_cost_ratio",  # live cost / the evaluation's cost
    "saving": "max_cost_share",  # live cost / cost of the better single answer to all cases
    "slices": "max_slice_gap",  # distance of a slice's 90% bias interval from 0; the largest
    "labels": "max_labels_missing",  # share of due labels of a slice that are missing; the largest
    "target": "max_target_distance",  # distance of the labels from the evaluation's
    "drift": "max_drift_share",  # share of drifted features; drifted predictions fire it, too
    "missing": "max_missing_change",  # change of a feature's share of missing values; the largest
    "volume": "max_new_labels",  # labels that became known since the champion's data
}
# Stable, for tests, logs and metrics: named as the alerts of monitoring/stack/rules.yml are.
TRIGGER_CODES = {
    "schedule": "schedule_due",
    "calibration": "calibration_gap",
    "performance": "cost_above_expected",
    "saving": "saving_gone",
    "slices": "slice_miscalibrated",
    "labels": "labels_missing",
    "target": "target_drift",
    "drift": "drift_share",
    "missing": "values_missing",
    "volume": "new_labels",
}


@dataclass(frozen=True)
class TriggerResult:
    """One trigger's result; `value` is None if it could not be judged."""

    name: str  # as the policy calls it
    value: float | None
    limit: float
    fired: bool
    acts: bool  # whether the policy lists it, so that it asks for a retraining
    told: str
    code: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", TRIGGER_CODES[self.name])


def evaluate_triggers(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], as_of: datetime
) -> list[TriggerResult]:
    """Return the results of all triggers, in the order of `TRIGGER_LIMITS`."""
    return [
        _schedule(evidence, policy, as_of),
        *(check(evidence, policy) for check in TRIGGER_CHECKS),
    ]


def format_days(days: float) -> str:
    return f"{days:.3g} day{'' if days == 1 else 's'}"


def _schedule(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], as_of: datetime
) -> TriggerResult:
    days = (as_of - evidence.data_until) / DAY
    limit = policy[TRIGGER_LIMITS["schedule"]]
    text = f"the champion's data ended {format_days(days)} ago (limit {limit:g})"
    return _result("schedule", days, days >= limit, text, policy)


def _calibration(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    gap = None if evidence.live is None else evidence.live["calibration_gap"]
    what = "gap between mean prediction and mean label"
    return _judge_if_labelled("calibration", gap, what, evidence, policy)


def _performance(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    ratio = _cost_ratio(evidence, evidence.expected["cost_per_1000"])
    what = "cost relative to the evaluation"
    return _judge_if_labelled("performance", ratio, what, evidence, policy)


def _saving(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    ratio = _cost_ratio(evidence, evidence.live["cost_without"] if evidence.live else 0.0)
    what = "cost relative to one answer to all cases"
    return _judge_if_labelled("saving", ratio, what, evidence, policy)


def _cost_ratio(evidence: MonitoringEvidence, other: float) -> float | None:
    if evidence.live is None or not other > 0:
        return None
    return float(evidence.live["cost_per_1000"] / other)


def _slices(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    """Use only the bias outside the 90% interval: of many slices, some differ by chance."""
    what = "calibration gap in a slice"
    judged = [each for each in evidence.slices or () if each["enough"]]
    if evidence.slices is not None and not judged:
        return _not_judged("slices", f"{what}: not judged, no slice has enough labels", policy)
    return _judge_worst_slice("slices", judged, "shown", what, policy)


def _labels(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    """Judge each slice: the coverage of the whole may hide one whose labels have stopped."""
    what = "share of due labels that are missing"
    due = [each for each in evidence.slices or () if each["due"] >= policy["min_labels_due"]]
    if evidence.slices is not None and not due:
        return _not_judged("labels", f"{what}: not judged, too few labels are due", policy)
    return _judge_worst_slice("labels", due, "missing", what, policy)


def _target(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    column = None if evidence.drift is None else evidence.drift["target"]
    distance = None if column is None else column["score"]
    what = "distance of the labels from the evaluation's"
    return _judge_if_labelled("target", distance, what, evidence, policy)


def _drift(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    what = "share of drifted features"
    if evidence.drift is None:
        return _judge("drift", None, what, policy)
    result = _judge("drift", evidence.drift["share"], what, policy)
    predictions = evidence.drift["prediction"]
    text = (
        f"{result.told}, predictions moved {predictions['score']:.3g} "
        f"(limit {predictions['limit']:g})"
    )
    return replace(result, fired=result.fired or predictions["drifted"], told=text)


def _missing(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    """Allow a larger change at first: shares of rare values differ from day to day."""
    change = None if evidence.drift is None else evidence.drift["missing_change"]
    if evidence.days is not None and evidence.days < policy["settled_days"]:
        policy = {**policy, TRIGGER_LIMITS["missing"]: policy["early_missing_change"]}
    return _judge("missing", change, "change in a feature's share of missing values", policy)


def _volume(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    if evidence.n_new is None:
        return _not_judged("volume", "new labels: could not be counted", policy)
    limit = policy[TRIGGER_LIMITS["volume"]]
    text = f"{evidence.n_new:,} new labels (limit {limit:,})"
    return _result("volume", evidence.n_new, evidence.n_new > limit, text, policy)


TRIGGER_CHECKS = (
    _calibration, _performance, _saving, _slices, _labels, _target, _drift, _missing, _volume,
)  # fmt: skip


def _judge_if_labelled(
    name: str, value: float | None, what: str, evidence: MonitoringEvidence,
    policy: Mapping[str, Any],
) -> TriggerResult:  # fmt: skip
    needed = policy["min_labelled"]
    if evidence.live is not None and evidence.n_labelled < needed:
        text = f"{what}: not judged, {evidence.n_labelled:,} labels known and {needed:,} needed"
        return _not_judged(name, text, policy)
    return _judge(name, value, what, policy)


def _judge_worst_slice(
    name: str, slices: Sequence[Mapping[str, Any]], measure: str, what: str,
    policy: Mapping[str, Any],
) -> TriggerResult:  # fmt: skip
    if not slices:
        return _judge(name, None, what, policy)
    worst = max(slices, key=lambda each: each[measure])
    result = _judge(name, worst[measure], what, policy)
    return replace(result, told=f"{result.told}, largest in {worst['slice']} {worst['value']}")


def _judge(name: str, value: float | None, what: str, policy: Mapping[str, Any]) -> TriggerResult:
    if value is None or not isfinite(value):
        return _not_judged(name, f"{what}: could not be measured", policy)
    limit = policy[TRIGGER_LIMITS[name]]
    return _result(name, value, value > limit, f"{what} {value:.3g} (limit {limit:g})", policy)


def _not_judged(name: str, text: str, policy: Mapping[str, Any]) -> TriggerResult:
    return _result(name, None, False, text, policy)


def _result(
    name: str, value: float | None, fired: bool, text: str, policy: Mapping[str, Any]
) -> TriggerResult:
    limit, acts = policy[TRIGGER_LIMITS[name]], name in policy["triggers"]
    return TriggerResult(name, value, limit, fired, acts, text)
