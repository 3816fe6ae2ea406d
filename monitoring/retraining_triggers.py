"""The evidence for a retraining decision, and the triggers: pure checks of the evidence.

A trigger fires when its value is over its limit in the policy (`monitoring.policy` of the
parameters). It asks for a retraining if the policy lists it in `triggers`; `retraining_decision.py`
then decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, NamedTuple

DAY = timedelta(days=1)
NEED_LABELS = ("calibration", "performance", "saving", "target")


@dataclass(frozen=True)
class MonitoringFinding:
    """A stable `code` (snake_case), and `told` for people, whose words may change."""

    code: str
    told: str


@dataclass(frozen=True)
class MonitoringEvidence:
    """Facts on the champion, then the measurements of one look; times are aware UTC.

    `observation.observe_production` adds the measurements. A failed one is None and a problem.
    """

    champion: str
    data_until: datetime  # the champion was trained on labels known before
    expected: Mapping[str, Any]  # metrics of the champion's evaluation
    last_training: datetime | None = None  # its `as_of`; the champion's own if unset
    n_new: int | None = None  # labels that became known since the champion's data
    under_way: str | None = None  # version of the challenger in shadow or canary
    # Predictions of the window that were no decisions on time, by reason; and their share.
    uncounted: Mapping[str, int] = field(default_factory=dict)
    uncounted_share: float = 0.0
    n_labelled: int = 0  # predictions of the window whose label is known
    live: Mapping[str, Any] | None = None  # result of `performance.live_metrics`
    drift: Mapping[str, Any] | None = None  # result of `drift.measure_drift`
    slices: Sequence[Mapping[str, Any]] | None = None  # result of `slices.measure_slices`
    days: float | None = None  # since the first decision of the window
    problems: Sequence[MonitoringFinding] = ()  # checks that could not run, and why


class Trigger(NamedTuple):
    """The setting that limits the value, a stable code, and the value in words.

    Codes are for tests, logs and metrics: named as the alerts of monitoring/stack/rules.yml are.
    """

    limit: str
    code: str
    what: str


TRIGGERS = {
    # In days; fires at the limit, too.
    "schedule": Trigger("every_days", "schedule_due", "age of the champion's data"),
    "calibration": Trigger(
        "max_calibration_gap", "calibration_gap", "gap between mean prediction and mean label"
    ),
    "performance": Trigger(
        "max_cost_ratio", "cost_above_expected", "cost relative to the evaluation"
    ),
    # The better of the two constant answers.
    "saving": Trigger("max_cost_share", "saving_gone", "cost relative to one answer to all cases"),
    # The largest distance of a slice's 90% bias interval from 0: of many slices, some differ by
    # chance.
    "slices": Trigger("max_slice_gap", "slice_miscalibrated", "calibration gap in a slice"),
    # The largest of a slice: the coverage of the whole may hide one whose labels have stopped.
    "labels": Trigger(
        "max_labels_missing", "labels_missing", "share of due labels that are missing"
    ),
    "target": Trigger(
        "max_target_distance", "target_drift", "distance of the labels from the evaluation's"
    ),
    "drift": Trigger("max_drift_share", "drift_share", "share of drifted features"),
    # The largest.
    "missing": Trigger(
        "max_missing_change", "values_missing", "change in a feature's share of missing values"
    ),
    # Those that became known since the champion's data.
    "volume": Trigger("max_new_labels", "new_labels", "new labels"),
}


def evaluate_triggers(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], as_of: datetime
) -> list[dict[str, Any]]:
    """Return the results of all triggers, in the order of `TRIGGERS`.

    Each is a dict of JSON types: `name` as the policy calls it, `value` (None if it could not be
    judged), `limit`, `fired`, `acts` (the policy lists it, so that it asks for a retraining),
    `told` for people, and `code`.
    """
    live, drift = evidence.live or {}, evidence.drift or {}
    judged = [each for each in evidence.slices or () if each["enough"]]
    due = [each for each in evidence.slices or () if each["due"] >= policy["min_labels_due"]]
    biased, unlabelled = _worst(judged, "shown"), _worst(due, "missing")
    values: dict[str, float | None] = {
        "schedule": (as_of - evidence.data_until) / DAY,
        "calibration": live.get("calibration_gap"),
        "performance": _cost_ratio(live, evidence.expected["cost_per_1000"]),
        "saving": _cost_ratio(live, live.get("cost_without", 0.0)),
        "slices": biased.get("shown"),
        "labels": unlabelled.get("missing"),
        "target": (drift.get("target") or {}).get("score"),
        "drift": drift.get("share"),
        "missing": drift.get("missing_change"),
        "volume": evidence.n_new,
    }
    unjudged = _unjudged(evidence, policy, judged, due)
    values |= dict.fromkeys(unjudged)
    moved = drift.get("prediction") or {"drifted": False}
    details = {
        name: f", largest in {worst['slice']} {worst['value']}"
        for name, worst in (("slices", biased), ("labels", unlabelled))
        if worst
    }
    if drift:
        details["drift"] = f", predictions moved {moved['score']:.3g} (limit {moved['limit']:g})"
    limits = {name: policy[each.limit] for name, each in TRIGGERS.items()}
    # Shares of rare values differ from day to day, so the first days allow more missing values.
    if evidence.days is not None and evidence.days < policy["settled_days"]:
        limits["missing"] = policy["early_missing_change"]
    results = []
    for name, value in values.items():
        limit = limits[name]
        if value is None or not isfinite(value):
            why = unjudged.get(name, "could not be measured")
            value, fired, text = None, False, f"{TRIGGERS[name].what}: {why}"
        else:
            fired = value >= limit if name == "schedule" else value > limit
            text = _describe(name, value, limit) + details.get(name, "")
        if name == "drift" and moved["drifted"]:
            fired = True
        results.append({
            "name": name, "value": value, "limit": limit, "fired": fired,
            "acts": name in policy["triggers"], "told": text, "code": TRIGGERS[name].code,
        })  # fmt: skip
    return results


def format_days(days: float) -> str:
    return f"{days:.3g} day{'' if days == 1 else 's'}"


def _cost_ratio(live: Mapping[str, float], other: float) -> float | None:
    return live["cost_per_1000"] / other if live and other > 0 else None


def _worst(slices: Sequence[Mapping[str, Any]], measure: str) -> Mapping[str, Any]:
    return max(slices, key=lambda each: each[measure], default={})


def _unjudged(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], judged: Sequence[Any],
    due: Sequence[Any],
) -> dict[str, str]:  # fmt: skip
    """Return why a trigger is not judged, for those that were measured on too little."""
    reasons: dict[str, str] = {}
    if evidence.live is None and "performance_unmeasured" not in {
        p.code for p in evidence.problems
    }:
        return dict.fromkeys([*NEED_LABELS, "slices", "labels"], "not judged, no label is due yet")
    n, needed = evidence.n_labelled, policy["min_labelled"]
    if evidence.live is not None and n < needed:
        few = f"not judged, {n:,} labels known and {needed:,} needed"
        reasons |= dict.fromkeys(NEED_LABELS, few)
    if evidence.slices is not None and not judged:
        reasons["slices"] = "not judged, no slice has enough labels"
    if evidence.slices is not None and not due:
        reasons["labels"] = "not judged, too few labels are due"
    return reasons


def _describe(name: str, value: float, limit: float) -> str:
    if name == "schedule":
        return f"the champion's data ended {format_days(value)} ago (limit {limit:g})"
    if name == "volume":
        return f"{value:,} new labels (limit {limit:,})"
    return f"{TRIGGERS[name].what} {value:.3g} (limit {limit:g})"
