"""Is it time to retrain? From the evidence and the policy to a decision that a person understands.

A trigger fires when its value is over its limit. The policy names the triggers that ask for a
retraining; the others are shown and change nothing. A cool-down and a minimum of labels hold an
asked-for retraining back. A check that could not run is neither quiet nor a reason to retrain,
since a model trained on data that can't be looked at is no cure: it is an alarm, first in the
reason, whatever else is decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from settings import UserError

DAY = timedelta(days=1)
LIMITS = {
    "schedule": "every_days",
    "calibration": "max_calibration_gap",
    "performance": "max_cost_ratio",
    "drift": "max_drift_share",
    "missing": "max_missing_change",
    "volume": "max_new_labels",
}
SETTINGS = (*LIMITS.values(), "triggers", "cool_down_days", "min_labelled")


@dataclass(frozen=True)
class Evidence:
    """What was found; times are aware UTC. A check that could not run gave None and a problem."""

    champion: str
    data_until: datetime  # the champion was trained on labels known before
    n_labelled: int  # predictions of the window whose label is known
    live: Mapping[str, Any] | None  # as `monitoring.performance.live_metrics` gives them
    expected: Mapping[str, Any]  # the same metrics, of the champion's evaluation
    drift: Mapping[str, Any] | None  # `monitoring.drift.Drift` as a dict
    problems: Sequence[str] = ()  # which checks could not run, and why
    last_training: datetime | None = None  # as of when; the champion's own if unset
    n_new: int | None = None  # labels that became known since the champion's data
    asked: str | None = None  # why a person asks for a retraining, if one does
    under_way: str | None = None  # the challenger that is on its way to be champion


@dataclass(frozen=True)
class Trigger:
    """One line of a decision; `value` is None where nothing could be judged."""

    name: str
    value: float | None
    limit: float
    fired: bool
    acts: bool  # whether the policy lets it ask for a retraining
    told: str


@dataclass(frozen=True)
class Decision:
    """Whether to retrain, and why, in words; the same evidence gives the same `decision_id`."""

    retrain: bool
    reason: str
    as_of: datetime
    decision_id: str
    triggers: list[Trigger]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "as_of": self.as_of.isoformat()}


def decide(evidence: Evidence, policy: Mapping[str, Any], as_of: datetime) -> Decision:
    """The decision on `evidence` by `policy`, the section `monitoring.policy` of the parameters.

    Raises `UserError` if the policy lacks a value or names an unknown trigger: a misspelt trigger
    would never fire.
    """
    require(policy)
    triggers = [
        _schedule(evidence, policy, as_of),
        _calibration(evidence, policy),
        _performance(evidence, policy),
        _drift(evidence, policy),
        _missing(evidence, policy),
        _volume(evidence, policy),
    ]
    if evidence.asked:
        triggers.append(Trigger("by hand", 1.0, 1.0, True, True, f"asked for: {evidence.asked}"))
    asking = [each.told for each in triggers if each.fired and each.acts]
    holds = _holds(evidence, policy, as_of) if asking else []
    return Decision(
        retrain=bool(asking) and not holds,
        reason=_reason(triggers, asking, holds, evidence.problems),
        as_of=as_of,
        decision_id=f"{as_of:%Y%m%dT%H%M%SZ}-{evidence.champion}",
        triggers=triggers,
    )


def require(policy: Mapping[str, Any]) -> None:
    """Raises `UserError` if the policy is not whole."""
    if absent := [name for name in SETTINGS if name not in policy]:
        raise UserError(f"monitoring.policy in the parameters lacks {', '.join(absent)}.")
    if unknown := sorted(set(policy["triggers"]) - set(LIMITS)):
        raise UserError(
            f"monitoring.policy.triggers names {', '.join(unknown)}; there are {', '.join(LIMITS)}."
        )


def _schedule(evidence: Evidence, policy: Mapping[str, Any], as_of: datetime) -> Trigger:
    days, limit = (as_of - evidence.data_until) / DAY, policy["every_days"]
    told = f"the champion's data ended {_days(days)} ago (limit {limit:g})"
    return Trigger("schedule", days, limit, days >= limit, "schedule" in policy["triggers"], told)


def _calibration(evidence: Evidence, policy: Mapping[str, Any]) -> Trigger:
    gap = None if evidence.live is None else evidence.live["calibration_gap"]
    what = "gap between mean prediction and mean label"
    return _of_labels("calibration", gap, what, evidence, policy)


def _performance(evidence: Evidence, policy: Mapping[str, Any]) -> Trigger:
    ratio = None
    if evidence.live is not None and evidence.expected["cost_per_1000"] > 0:
        ratio = evidence.live["cost_per_1000"] / evidence.expected["cost_per_1000"]
    return _of_labels("performance", ratio, "cost, as a multiple of the evaluation's",
                      evidence, policy)  # fmt: skip


def _of_labels(
    name: str, value: float | None, what: str, evidence: Evidence, policy: Mapping[str, Any]
) -> Trigger:
    enough = policy["min_labelled"]
    if evidence.live is not None and evidence.n_labelled < enough:
        told = f"{what}: not judged, {evidence.n_labelled:,} labels known and {enough:,} needed"
        return Trigger(name, None, policy[LIMITS[name]], False, name in policy["triggers"], told)
    return _over(name, value, what, policy)


def _drift(evidence: Evidence, policy: Mapping[str, Any]) -> Trigger:
    """Fires on the share of drifted features, and on predictions that have drifted themselves."""
    what = "share of drifted features"
    if evidence.drift is None:
        return _over("drift", None, what, policy)
    moved = evidence.drift["prediction"]
    trigger = _over("drift", evidence.drift["share"], what, policy)
    told = f"{trigger.told}, predictions moved {moved['score']:.3g} (limit {moved['limit']:g})"
    return replace(trigger, fired=trigger.fired or moved["drifted"], told=told)


def _missing(evidence: Evidence, policy: Mapping[str, Any]) -> Trigger:
    change = None if evidence.drift is None else evidence.drift["missing_change"]
    return _over("missing", change, "change in a feature's share of missing values", policy)


def _volume(evidence: Evidence, policy: Mapping[str, Any]) -> Trigger:
    limit, acts = policy[LIMITS["volume"]], "volume" in policy["triggers"]
    if evidence.n_new is None:
        return Trigger("volume", None, limit, False, acts, "new labels: could not be counted")
    told = f"{evidence.n_new:,} new labels (limit {limit:,})"
    return Trigger("volume", evidence.n_new, limit, evidence.n_new > limit, acts, told)


def _over(name: str, value: float | None, what: str, policy: Mapping[str, Any]) -> Trigger:
    limit = policy[LIMITS[name]]
    if value is None or not isfinite(value):
        return Trigger(name, None, limit, False, name in policy["triggers"],
                       f"{what}: could not be measured")  # fmt: skip
    told = f"{what} {value:.3g} (limit {limit:g})"
    return Trigger(name, value, limit, value > limit, name in policy["triggers"], told)


def _holds(evidence: Evidence, policy: Mapping[str, Any], as_of: datetime) -> list[str]:
    holds = []
    last = max(evidence.data_until, evidence.last_training or evidence.data_until)
    days, wait = (as_of - last) / DAY, policy["cool_down_days"]
    if evidence.under_way is not None:
        holds.append(f"version {evidence.under_way} is on its way, and one goes at a time")
    # Without it a refused retraining would be asked for at every look; a person may ask again.
    if days < wait and not evidence.asked:
        holds.append(f"the last training was {_days(days)} ago and {_days(wait)} must pass")
    if evidence.n_labelled < policy["min_labelled"]:
        holds.append(
            f"{evidence.n_labelled:,} labels are known and {policy['min_labelled']:,} needed, "
            "below which a retraining learns nothing new"
        )
    return holds


def _days(days: float) -> str:
    return f"{days:.3g} day{'' if days == 1 else 's'}"


def _reason(
    triggers: Sequence[Trigger], asking: Sequence[str], holds: Sequence[str],
    problems: Sequence[str],
) -> str:  # fmt: skip
    parts = [f"ALARM, a check could not run: {problem.rstrip('.')}" for problem in problems]
    parts += [f"not yet: {hold}" for hold in holds]
    if asking:
        parts += asking
    else:
        parts += [f"{each.name} is quiet: {each.told}" for each in triggers if each.acts]
    parts += [
        f"seen, and by the policy no reason to retrain: {each.told}"
        for each in triggers
        if each.fired and not each.acts
    ]
    return "; ".join(parts)
