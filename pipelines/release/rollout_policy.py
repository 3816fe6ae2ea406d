"""Rollout policy: the next step of a challenger in shadow, canary or experiment. Pure functions.

The path: registered → shadow (scores every request, answers none) → canary (answers some keys) →
champion. Each guard withdraws the challenger; limits are in `rollout` of params.yaml:

    guard   withdraws after                                        stages
    errors  `max_errors` failed scores (the champion answers)      all
    slow    `max_slower_ms` beyond the champion, live only         all
    scores  mean probability moved by more than `max_moved`        all
    cost    shown to be worse by more than `margin_cost`           shadow
    time    `max_days` without enough evidence                     shadow, canary

The guards `errors`, `slow` and `scores` are checked first, in every stage (`find_harm`). The shadow
also compares cost, as labels become known.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from monitoring.measures.arms import ArmEvidence
from serving.release.document import Stage
from settings import UserError

RolloutAction = Literal["stay", "advance", "promote", "withdraw"]
GUARDS = ("errors", "slow", "scores", "cost", "time")  # each can withdraw a challenger
CODES = (
    *GUARDS, "override", "in_shadow", "in_canary", "in_experiment", "shown_not_worse",
    "not_shown_worse", "no_harm",
)  # fmt: skip
POLICY_SETTINGS = {
    "harm": {"max_errors", "max_slower_ms", "max_moved", "alpha", "focus", "min_requests"},
    "shadow": {
        "days", "min_labels", "day_labels", "label_hours", "min_coverage", "margin_cost", "spread",
        "alpha", "focus", "max_days",
    },
    "canary": {"percent", "days", "min_requests", "max_days"},
}  # fmt: skip


@dataclass(frozen=True)
class RolloutDecision:
    """An action, its reason as a sentence for people, and its stable code.

    The policy gives one of `CODES`. The controller adds `deleted`, and the codes of refusals.
    """

    action: RolloutAction
    why: str
    code: str

    @property
    def cause(self) -> str:
        """The guard that withdrew the challenger, or `override`; empty if neither applies."""
        return self.code if self.code in GUARDS or self.code == "override" else ""


def require_rollout_policy(policy: dict[str, Any]) -> None:
    """Raise `UserError` for a missing, unknown or impossible setting in `policy`."""
    for part, names in POLICY_SETTINGS.items():
        if wrong := names ^ set(policy.get(part, {})):
            raise UserError(
                f"`rollout.{part}` in params.yaml has missing or unknown settings: "
                f"{', '.join(sorted(wrong))}. Add or remove them."
            )
    for part in ("shadow", "canary"):
        if policy[part]["days"] > policy[part]["max_days"]:
            raise UserError(
                f"`rollout.{part}.days` is greater than `max_days` in params.yaml, so "
                "every challenger would be withdrawn. Raise `max_days` or lower `days`."
            )
    if not 0 < policy["canary"]["percent"] < 100:
        raise UserError("`rollout.canary.percent` in params.yaml must be above 0, below 100.")


def next_rollout_step(
    stage: Stage, since: datetime, evidence: ArmEvidence, policy: dict[str, Any], as_of: datetime,
    *, live: bool = True, overridden: Collection[str] = (),
) -> RolloutDecision:  # fmt: skip
    """Return the next step at `as_of` of a challenger in `stage` since a time of the release.

    Pass `live=False` for a replay: it sends requests as fast as it can, so their speed is ignored.
    The guards named in `overridden` do not stop the challenger.
    """
    stopped = find_harm(evidence, policy["harm"], live=live, overridden=overridden)
    if stopped is not None:
        return stopped
    if stage == "experiment":
        return RolloutDecision("stay", "an experiment ends by its plan or by harm", "in_experiment")
    # In a replay `as_of` may be before `since`, which is wall-clock time: then count days of data.
    days = max(evidence.days, (as_of - since).days if as_of > since else 0)
    step = _shadow_step if stage == "shadow" else _canary_step
    return step(evidence, policy[stage], days, overridden)


def find_harm(
    evidence: ArmEvidence, limits: dict[str, Any], *, live: bool, overridden: Collection[str] = ()
) -> RolloutDecision | None:
    """Return the withdrawal for errors, slow scores or moved scores, in any stage, or None."""
    n_requests = f"{evidence.requests:,} requests"
    enough = evidence.requests - evidence.errors >= limits["min_requests"]
    found = {}
    if evidence.errors >= limits["max_errors"]:
        found["errors"] = (
            f"it failed on {evidence.errors} of {n_requests}, the limit is {limits['max_errors']}"
        )
    slower, slowest = evidence.slower_ms, limits["max_slower_ms"]
    if live and enough and slower is not None and slower > slowest:
        found["slow"] = (
            f"a score takes {slower:.1f} ms longer than the champion's (median of {n_requests}), "
            f"more than {slowest:g}"
        )
    moved, limit = evidence.moved, limits["max_moved"]
    if enough and moved is not None and (moved.low > limit or moved.high < -limit):
        found["scores"] = (
            f"its mean score differs by {moved.mean:+.3f} from the champion's (interval "
            f"{moved.low:+.3f} to {moved.high:+.3f}, {n_requests}), more than {limit:g}"
        )
    for code, why in found.items():
        if code not in overridden:
            return RolloutDecision("withdraw", why, code)
    return None


def _shadow_step(
    evidence: ArmEvidence, limits: dict[str, Any], days: int, overridden: Collection[str]
) -> RolloutDecision:
    cost, margin, guarded = evidence.cost, limits["margin_cost"], "cost" not in overridden
    summary = _describe_cost(evidence, limits)
    # Without enough labels the cost is biased: the missing ones may be the costly cases.
    covered = evidence.coverage is not None and evidence.coverage >= limits["min_coverage"]
    if cost is not None and covered:
        ripe = cost.n >= limits["days"] and evidence.labels >= limits["min_labels"]
        if guarded and cost.low > margin:
            why = f"shown to be worse by more than the margin: {summary}"
            return RolloutDecision("withdraw", why, "cost")
        if ripe and cost.high <= margin:
            why = f"shown not to be worse by more than the margin: {summary}"
            return RolloutDecision("advance", why, "shown_not_worse")
        if ripe and cost.mean <= margin:
            why = f"not shown to be worse: {summary}"
            return RolloutDecision("advance", why, "not_shown_worse")
        if ripe and not guarded:
            return RolloutDecision("advance", f"its cost is overridden: {summary}", "override")
    needed = (
        f"it needs {limits['days']} days and {limits['min_labels']:,} labels, "
        f"{limits['min_coverage']:.0%} of those due, and a mean cost within the margin; "
        f"{_count_days(days)} over"
    )
    if days >= limits["max_days"] and "time" not in overridden:
        return RolloutDecision("withdraw", f"its time is over: {summary}; {needed}", "time")
    return RolloutDecision("stay", f"in the shadow, {summary}; {needed}", "in_shadow")


def _canary_step(
    evidence: ArmEvidence, limits: dict[str, Any], days: int, overridden: Collection[str]
) -> RolloutDecision:
    observed = f"{evidence.requests:,} requests on {_count_days(days)}"
    if days >= limits["days"] and evidence.requests >= limits["min_requests"]:
        why = f"no harm in {observed}, {evidence.errors} of them failed"
        return RolloutDecision("promote", why, "no_harm")
    needed = f"it needs {limits['min_requests']} requests on {_count_days(limits['days'])}"
    if days >= limits["max_days"] and "time" not in overridden:
        return RolloutDecision("withdraw", f"its time is over: {observed}; {needed}", "time")
    return RolloutDecision("stay", f"in the canary, no harm in {observed}; {needed}", "in_canary")


def _describe_cost(evidence: ArmEvidence, limits: dict[str, Any]) -> str:
    """The mean cost difference with the margin and its interval, which is valid at every look."""
    cost, n_labels = evidence.cost, f"{evidence.labels:,} labels"
    if cost is None:
        return f"{n_labels} known, no whole day of them"
    coverage = f"{evidence.coverage:.0%}" if evidence.coverage is not None else "none"
    return (
        f"cost {cost.mean:+.0f} per 1,000 ({1 - limits['alpha']:.0%} interval {cost.low:+.0f} to "
        f"{cost.high:+.0f}, margin {limits['margin_cost']:g}) over {_count_days(cost.n)} and "
        f"{n_labels}, {coverage} of those due"
    )


def _count_days(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"
