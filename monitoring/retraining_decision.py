"""The decision whether to retrain, from the evidence by the policy.

A retraining starts when both are true:

- A trigger that the policy lists has fired (`retraining_triggers.py`). Other triggers only alert.
- Nothing holds the retraining back (`_holds`): no challenger under way, the cool-down over, no
  implausible slice, enough labels.

A check that could not run is an alarm, and comes first in the reason. It is no reason to retrain:
data that cannot be checked do not give a better model.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from monitoring.retraining_triggers import (
    DAY,
    TRIGGERS,
    MonitoringEvidence,
    MonitoringFinding,
    evaluate_triggers,
    format_days,
)
from settings import UserError

HOLD_CODES = ("under_way", "cooldown", "slice_implausible", "labels_few")
QUIET_CODE = "quiet"  # no trigger asks for a retraining
ALERT_ONLY = "alert only: "  # in a reason, before a fired trigger that the policy does not list
REQUIRED_SETTINGS = (
    *(each.limit for each in TRIGGERS.values()), "triggers", "cool_down_days", "min_labelled",
    "min_labels_due", "implausible_gap", "settled_days", "early_missing_change",
)  # fmt: skip


def decide_retraining(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], as_of: datetime
) -> dict[str, Any]:
    """Decide on `evidence` by `policy`, the section `monitoring.policy` of the parameters.

    Returns JSON types: `retrain`, `reason` for people, `as_of`, `decision_id`, `triggers` and
    `codes`. The same evidence gives the same `decision_id`. `codes` are for tests, logs and
    metrics: the problems, then the holds, then the triggers that ask, or `quiet` if none asks.

    Raises `UserError` if the policy lacks a setting or lists an unknown trigger: a misspelt trigger
    would never fire.
    """
    check_policy(policy)
    triggers = evaluate_triggers(evidence, policy, as_of)
    asking = [each for each in triggers if each["fired"] and each["acts"]]
    holds = list(_holds(evidence, policy, as_of)) if asking else []
    return {
        "retrain": bool(asking) and not holds,
        "reason": _reason(triggers, asking, holds, evidence.problems),
        "as_of": as_of.isoformat(),
        "decision_id": f"{as_of:%Y%m%dT%H%M%SZ}-{evidence.champion}",
        "triggers": triggers,
        "codes": [
            *(each.code for each in (*evidence.problems, *holds)),
            *([each["code"] for each in asking] or [QUIET_CODE]),
        ],
    }


def check_policy(policy: Mapping[str, Any]) -> None:
    """Raise `UserError` if the policy lacks a setting or lists an unknown trigger."""
    if absent := [name for name in REQUIRED_SETTINGS if name not in policy]:
        raise UserError(
            f"Settings are missing: {', '.join(absent)}. They belong to monitoring.policy in the "
            "parameters. Add them."
        )
    if unknown := sorted(set(policy["triggers"]) - set(TRIGGERS)):
        raise UserError(
            f"Unknown triggers: {', '.join(unknown)}. They are listed in "
            f"monitoring.policy.triggers. Choose from {', '.join(TRIGGERS)}."
        )


def _holds(
    evidence: MonitoringEvidence, policy: Mapping[str, Any], as_of: datetime
) -> Iterator[MonitoringFinding]:
    """Yield what holds a retraining back, in the order of `HOLD_CODES`."""
    if evidence.under_way is not None:
        yield MonitoringFinding(
            "under_way",
            f"version {evidence.under_way} is under way, and only one challenger runs at a time",
        )
    last = max(evidence.data_until, evidence.last_training or evidence.data_until)
    days, wait = (as_of - last) / DAY, policy["cool_down_days"]
    # Without the cool-down, a refused retraining would be repeated at every look.
    if days < wait:
        yield MonitoringFinding(
            "cooldown",
            f"the last training was {format_days(days)} ago (cool-down {format_days(wait)})",
        )
    gap = max((abs(each["bias"]) for each in evidence.slices or () if each["enough"]), default=0.0)
    # A model trained on labels that a broken source inverts is also evaluated on them.
    if gap > policy["implausible_gap"]:
        yield MonitoringFinding(
            "slice_implausible",
            f"the bias of a slice is {gap:.2g}, which is implausible (limit "
            f"{policy['implausible_gap']:g}): check its labels",
        )
    if evidence.n_labelled < policy["min_labelled"]:
        yield MonitoringFinding(
            "labels_few",
            f"{evidence.n_labelled:,} labels are known and {policy['min_labelled']:,} needed "
            "to learn anything new",
        )


def _reason(
    triggers: Sequence[Mapping[str, Any]], asking: Sequence[Mapping[str, Any]],
    holds: Sequence[MonitoringFinding], problems: Sequence[MonitoringFinding],
) -> str:  # fmt: skip
    parts = [f"ALARM, a check could not run: {each.told.rstrip('.')}" for each in problems]
    parts += [f"not yet: {hold.told}" for hold in holds]
    if asking:
        parts += [each["told"] for each in asking]
    else:
        parts += [f"{each['name']} is quiet: {each['told']}" for each in triggers if each["acts"]]
    alerts = [each for each in triggers if each["fired"] and not each["acts"]]
    parts += [f"{ALERT_ONLY}{each['told']}" for each in alerts]
    return "; ".join(parts)
