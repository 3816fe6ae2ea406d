"""The triggers of a retraining: a pure function from the evidence to one line per trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

DAY = timedelta(days=1)
TRIGGER_LIMITS = {
    "schedule": "every_days",
    "calibration": "max_calibration_gap",
    "performance": "max_cost_ratio",
    "saving": "max_cost_share",
    "slices": "max_slice_gap",
    "labels": "max_labels_missing",
    "target": "max_target_distance",
    "drift": "max_drift_share",
    "missing": "max_missing_change",
    "volume": "max_new_labels",
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
    "by hand": "by_hand",
}


@dataclass(frozen=True)
class MonitoringFinding:
    """What was found, as a stable `code` (snake_case) and in words for people, which may change."""

    code: str
    told: str


@dataclass(frozen=True)
class MonitoringEvidence:
    """What was found; times are aware UTC. A check that could not run gave None and a problem."""

    champion: str
    data_until: datetime  # the champion was trained on labels known before
    n_labelled: int  # predictions of the window whose label is known
    live: Mapping[str, Any] | None  # as `monitoring.measures.performance.live_metrics` gives them
    expected: Mapping[str, Any]  # the same metrics, of the champion's evaluation
    drift: Mapping[str, Any] | None  # `monitoring.measures.drift.DriftResult` as a dict
    problems: Sequence[MonitoringFinding] = ()  # which checks could not run, and why
    last_training: datetime | None = None  # as of when; the champion's own if unset
    n_new: int | None = None  # labels that became known since the champion's data
    asked: str | None = None  # why a person asks for a retraining, if one does
    under_way: str | None = None  # the challenger that is on its way to be champion
    days: float | None = None  # from the first decision of the window on
    slices: Sequence[Mapping[str, Any]] | None = (
        None  # as `monitoring.measures.slices.measure_slices` gives them
    )


@dataclass(frozen=True)
class TriggerResult:
    """One line of a decision; `value` is None where nothing could be judged."""

    name: str  # as the policy calls it
    value: float | None
    limit: float
    fired: bool
    acts: bool  # whether the policy lets it ask for a retraining
    told: str
    code: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", TRIGGER_CODES[self.name])


def evaluate_triggers(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], as_of: datetime
) -> list[TriggerResult]:
    """All triggers, in the order of `TRIGGER_LIMITS`; a person's wish last, if there is one."""
    found = [_schedule(evidence, policy, as_of)]
    found += [judge(evidence, policy) for judge in TRIGGER_CHECKS]
    if evidence.asked:
        found.append(TriggerResult("by hand", 1.0, 1.0, True, True, f"asked for: {evidence.asked}"))
    return found


def _schedule(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], as_of: datetime
) -> TriggerResult:
    days, limit = (as_of - evidence.data_until) / DAY, policy["every_days"]
    told = f"the champion's data ended {format_days(days)} ago (limit {limit:g})"
    return TriggerResult(
        "schedule", days, limit, days >= limit, "schedule" in policy["triggers"], told
    )


def _calibration(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    gap = None if evidence.live is None else evidence.live["calibration_gap"]
    what = "gap between mean prediction and mean label"
    return _of_labels("calibration", gap, what, evidence, policy)


def _performance(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    ratio = _cost_over(evidence, evidence.expected["cost_per_1000"])
    what = "cost, as a multiple of the evaluation's"
    return _of_labels("performance", ratio, what, evidence, policy)


def _saving(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    share = _cost_over(evidence, evidence.live["cost_without"] if evidence.live else 0.0)
    what = "cost, as a share of what one answer to all would cost"
    return _of_labels("saving", share, what, evidence, policy)


def _cost_over(evidence: MonitoringEvidence, other: float) -> float | None:
    if evidence.live is None or not other > 0:
        return None
    return float(evidence.live["cost_per_1000"] / other)


def _slices(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    """Fires on a gap that the slice's interval shows: of so many slices some are off by chance."""
    what = "gap shown in a slice between mean prediction and mean label"
    judged = [each for each in evidence.slices or () if each["enough"]]
    if evidence.slices is not None and not judged:
        told = f"{what}: not judged, no slice has labels enough"
        return TriggerResult("slices", None, policy[TRIGGER_LIMITS["slices"]], False,
                       "slices" in policy["triggers"], told)  # fmt: skip
    return _worst("slices", judged, "shown", what, policy)


def _labels(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    """Fires where the labels of a slice have stopped, which the whole's coverage may hide."""
    what = "share of labels due that are missing"
    due = [each for each in evidence.slices or () if each["due"] >= policy["min_labels_due"]]
    if evidence.slices is not None and not due:
        told = f"{what}: not judged, too few are due"
        return TriggerResult("labels", None, policy[TRIGGER_LIMITS["labels"]], False,
                       "labels" in policy["triggers"], told)  # fmt: skip
    return _worst("labels", due, "missing", what, policy)


def _worst(
    name: str, slices: Sequence[Mapping[str, Any]], of: str, what: str, policy: Mapping[str, Any]
) -> TriggerResult:
    if not slices:
        return _over(name, None, what, policy)
    worst = max(slices, key=lambda each: each[of])
    trigger = _over(name, worst[of], what, policy)
    return replace(trigger, told=f"{trigger.told}, at worst in {worst['slice']} {worst['value']}")


def _target(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    moved = None if evidence.drift is None else evidence.drift["target"]
    return _of_labels("target", None if moved is None else moved["score"],
                      "distance of the labels from the evaluation's", evidence, policy)  # fmt: skip


def _of_labels(
    name: str,
    value: float | None,
    what: str,
    evidence: MonitoringEvidence,
    policy: Mapping[str, Any],
) -> TriggerResult:
    enough = policy["min_labelled"]
    if evidence.live is not None and evidence.n_labelled < enough:
        told = f"{what}: not judged, {evidence.n_labelled:,} labels known and {enough:,} needed"
        return TriggerResult(
            name, None, policy[TRIGGER_LIMITS[name]], False, name in policy["triggers"], told
        )
    return _over(name, value, what, policy)


def _drift(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    """Fires on the share of drifted features, and on predictions that have drifted themselves."""
    what = "share of drifted features"
    if evidence.drift is None:
        return _over("drift", None, what, policy)
    moved = evidence.drift["prediction"]
    trigger = _over("drift", evidence.drift["share"], what, policy)
    told = f"{trigger.told}, predictions moved {moved['score']:.3g} (limit {moved['limit']:g})"
    return replace(trigger, fired=trigger.fired or moved["drifted"], told=told)


def _missing(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    """Fires on less once there are days enough: what is rarely given differs from day to day."""
    change = None if evidence.drift is None else evidence.drift["missing_change"]
    if evidence.days is not None and evidence.days < policy["settled_days"]:
        policy = {**policy, TRIGGER_LIMITS["missing"]: policy["early_missing_change"]}
    return _over("missing", change, "change in a feature's share of missing values", policy)


def _volume(evidence: MonitoringEvidence, policy: Mapping[str, Any]) -> TriggerResult:
    limit, acts = policy[TRIGGER_LIMITS["volume"]], "volume" in policy["triggers"]
    if evidence.n_new is None:
        return TriggerResult("volume", None, limit, False, acts, "new labels: could not be counted")
    told = f"{evidence.n_new:,} new labels (limit {limit:,})"
    return TriggerResult("volume", evidence.n_new, limit, evidence.n_new > limit, acts, told)


def _over(name: str, value: float | None, what: str, policy: Mapping[str, Any]) -> TriggerResult:
    limit = policy[TRIGGER_LIMITS[name]]
    if value is None or not isfinite(value):
        return TriggerResult(name, None, limit, False, name in policy["triggers"],
                       f"{what}: could not be measured")  # fmt: skip
    told = f"{what} {value:.3g} (limit {limit:g})"
    return TriggerResult(name, value, limit, value > limit, name in policy["triggers"], told)


def format_days(days: float) -> str:
    return f"{days:.3g} day{'' if days == 1 else 's'}"


TRIGGER_CHECKS = (
    _calibration, _performance, _saving, _slices, _labels, _target, _drift, _missing, _volume,
)  # fmt: skip
