"""The decision whether to retrain, from the evidence and the policy: codes, and words for people.

A trigger fires when its value is over its limit. The policy names the triggers that ask for a
retraining; the others are shown and change nothing. A cool-down and a minimum of labels hold an
asked-for retraining back. A check that could not run is neither quiet nor a reason to retrain,
since a model trained on data that can't be looked at is no cure: it is an alarm, first in the
reason, whatever else is decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from monitoring.retraining_triggers import (
    DAY,
    TRIGGER_LIMITS,
    MonitoringEvidence,
    MonitoringFinding,
    TriggerResult,
    evaluate_triggers,
    format_days,
)
from settings import UserError

HOLD_CODES = ("under_way", "cooldown", "slice_implausible", "labels_few")  # back a retraining
QUIET_CODE = "quiet"  # nothing asked for a retraining
REQUIRED_SETTINGS = (
    *TRIGGER_LIMITS.values(), "triggers", "cool_down_days", "min_labelled", "min_labels_due",
    "implausible_gap", "settled_days", "early_missing_change",
)  # fmt: skip


@dataclass(frozen=True)
class RetrainingDecision:
    """Whether to retrain, and why; the same evidence gives the same `decision_id`.

    `codes` say why to tests, logs and metrics: the problems, then the holds, then the triggers that
    ask; `quiet` if none asks. `reason` says it to people.
    """

    retrain: bool
    reason: str
    as_of: datetime
    decision_id: str
    triggers: list[TriggerResult]
    codes: list[str]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "as_of": self.as_of.isoformat()}


def decide_retraining(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], as_of: datetime
) -> RetrainingDecision:
    """The decision on `evidence` by `policy`, the section `monitoring.policy` of the parameters.

    Raises `UserError` if the policy lacks a value or names an unknown trigger: a misspelt trigger
    would never fire.
    """
    check_policy(policy)
    triggers = evaluate_triggers(evidence, policy, as_of)
    asking = [each for each in triggers if each.fired and each.acts]
    holds = _holds(evidence, policy, as_of) if asking else []
    return RetrainingDecision(
        retrain=bool(asking) and not holds,
        reason=_reason(triggers, asking, holds, evidence.problems),
        as_of=as_of,
        decision_id=f"{as_of:%Y%m%dT%H%M%SZ}-{evidence.champion}",
        triggers=triggers,
        codes=[each.code for each in evidence.problems]
        + [each.code for each in holds]
        + ([each.code for each in asking] or [QUIET_CODE]),
    )


def check_policy(policy: Mapping[str, Any]) -> None:
    """Raises `UserError` if the policy is not whole."""
    if absent := [name for name in REQUIRED_SETTINGS if name not in policy]:
        raise UserError(f"monitoring.policy in the parameters lacks {', '.join(absent)}.")
    if unknown := sorted(set(policy["triggers"]) - set(TRIGGER_LIMITS)):
        raise UserError(
            f"monitoring.policy.triggers names {', '.join(unknown)}; there are {', '.join(TRIGGER_LIMITS)}."
        )


def _holds(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], as_of: datetime
) -> list[MonitoringFinding]:
    holds = []
    last = max(evidence.data_until, evidence.last_training or evidence.data_until)
    days, wait = (as_of - last) / DAY, policy["cool_down_days"]
    if evidence.under_way is not None:
        told = f"version {evidence.under_way} is on its way, and one goes at a time"
        holds.append(MonitoringFinding("under_way", told))
    # Without it a refused retraining would be asked for at every look; a person may ask again.
    if days < wait and not evidence.asked:
        told = f"the last training was {format_days(days)} ago and {format_days(wait)} must pass"
        holds.append(MonitoringFinding("cooldown", told))
    gaps = [abs(each["bias"]) for each in evidence.slices or () if each["enough"]]
    # Labels that a broken source has turned around would be learnt, and judged by themselves.
    if max(gaps, default=0.0) > policy["implausible_gap"] and not evidence.asked:
        told = (
            f"a slice is off by {max(gaps):.2g}, more than the world changes "
            f"({policy['implausible_gap']:g}): see whether its labels are right"
        )
        holds.append(MonitoringFinding("slice_implausible", told))
    if evidence.n_labelled < policy["min_labelled"]:
        told = (
            f"{evidence.n_labelled:,} labels are known and {policy['min_labelled']:,} needed, "
            "below which a retraining learns nothing new"
        )
        holds.append(MonitoringFinding("labels_few", told))
    return holds


def _reason(
    triggers: Sequence[TriggerResult], asking: Sequence[TriggerResult], holds: Sequence[MonitoringFinding],
    problems: Sequence[MonitoringFinding],
) -> str:  # fmt: skip
    parts = [f"ALARM, a check could not run: {each.told.rstrip('.')}" for each in problems]
    parts += [f"not yet: {hold.told}" for hold in holds]
    if asking:
        parts += [each.told for each in asking]
    else:
        parts += [f"{each.name} is quiet: {each.told}" for each in triggers if each.acts]
    parts += [
        f"seen, and by the policy no reason to retrain: {each.told}"
        for each in triggers
        if each.fired and not each.acts
    ]
    return "; ".join(parts)
