"""Rollout policy: the next step of a challenger in shadow, canary or experiment. Pure functions.

The path: registered → shadow (scores every request, answers none) → canary (answers some keys) →
champion. Each guard withdraws the challenger; limits are in `rollout` of usecase/params.yaml:

    guard   withdraws after                                        stages
    errors  `max_errors` failed scores (the champion answers)      all
    slow    `max_slower_ms` beyond the champion, live only         all
    scores  mean probability moved by more than `max_moved`        all
    cost    shown to be worse by more than `margin_cost`           shadow
    time    `max_days` without enough evidence                     shadow, canary

The guards `errors`, `slow` and `scores` are checked first, in every stage (`find_harm`). The shadow
also compares cost, as labels become known.
"""

from __future__ import annotations

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
class ChallengerState:
    """A challenger's version, its stage, and the start of the stage (UTC, from the release)."""

    version: str
    stage: Stage
    since: datetime


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

    @property
    def moves(self) -> bool:
        return self.action != "stay"


def require_rollout_policy(policy: dict[str, Any]) -> None:
    """Raise `UserError` for a missing, unknown or impossible setting in `policy`."""
    for part, names in POLICY_SETTINGS.items():
        if set(policy.get(part, {})) != names:
            wrong = sorted(names ^ set(policy.get(part, {})))
            raise UserError(
                f"`rollout.{part}` in usecase/params.yaml has missing or unknown settings: "
                f"{', '.join(wrong)}. Add or remove them."
            )
    for part in ("shadow", "canary"):
        if policy[part]["days"] > policy[part]["max_days"]:
            raise UserError(
                f"`rollout.{part}.days` is greater than `max_days` in usecase/params.yaml, so "
                "every challenger would be withdrawn. Raise `max_days` or lower `days`."
            )
    if not 0 < policy["canary"]["percent"] < 100:
        raise UserError(
            "`rollout.canary.percent` in usecase/params.yaml must be above 0, below 100."
        )


def next_rollout_step(
    state: ChallengerState, evidence: ArmEvidence, policy: dict[str, Any], as_of: datetime, *,
    live: bool = True, overridden: Collection[str] = (),
) -> RolloutDecision:  # fmt: skip
    """Return the next step of the challenger in `state` at `as_of`.

    Pass `live=False` for a replay: it sends requests as fast as it can, so their speed is ignored.
    The guards named in `overridden` do not stop the challenger.
    """
    stopped = find_harm(evidence, policy["harm"], live=live, overridden=overridden)
    if stopped is not None:
        return stopped
    if state.stage == "experiment":
        return RolloutDecision("stay", "an experiment ends by its plan or by harm", "in_experiment")
    # In a replay `as_of` may be before `since`, which is wall-clock time: then count days of data.
    days = max(evidence.days, (as_of - state.since).days if as_of > state.since else 0)
    if state.stage == "shadow":
        return _shadow_step(evidence, policy["shadow"], days, overridden)
    return _canary_step(evidence, policy["canary"], days, overridden)


def find_harm(
    evidence: ArmEvidence, limits: dict[str, Any], *, live: bool, overridden: Collection[str] = ()
) -> RolloutDecision | None:
    """Return the withdrawal for errors, slow scores or moved scores, in any stage, or None."""
    n_requests = f"{evidence.requests:,} requests"
    if evidence.errors >= limits["max_errors"] and "errors" not in overridden:
        return RolloutDecision(
            "withdraw",
            f"it failed on {evidence.errors} of {n_requests}, the limit is {limits['max_errors']}",
            "errors",
        )
    slower = evidence.slower_ms
    enough = evidence.requests - evidence.errors >= limits["min_requests"]
    checked = live and enough and "slow" not in overridden
    if checked and slower is not None and slower > limits["max_slower_ms"]:
        return RolloutDecision(
            "withdraw", f"a score takes {slower:.1f} ms longer than the champion's (median of "
            f"{n_requests}), more than {limits['max_slower_ms']:g}", "slow",
        )  # fmt: skip
    moved, limit = evidence.moved, limits["max_moved"]
    checked = enough and "scores" not in overridden
    if checked and moved is not None and (moved.low > limit or moved.high < -limit):
        return RolloutDecision(
            "withdraw", f"its mean score differs by {moved.mean:+.3f} from the champion's (interval"
            f" {moved.low:+.3f} to {moved.high:+.3f}, {n_requests}), more than {limit:g}", "scores",
        )  # fmt: skip
    return None


def _shadow_step(
    evidence: ArmEvidence, limits: dict[str, Any], days: int, overridden: Collection[str]
) -> RolloutDecision:
    cost, margin = evidence.cost, limits["margin_cost"]
    # Without enough labels the cost is biased: the missing ones may be the costly cases.
    covered = evidence.coverage is not None and evidence.coverage >= limits["min_coverage"]
    summary = _describe_cost(evidence, limits)
    checked = "cost" not in overridden
    if checked and cost is not None and covered and cost.low > margin:
        why = f"shown to be worse by more than the margin: {summary}"
        return RolloutDecision("withdraw", why, "cost")
    ripe = cost is not None and cost.n >= limits["days"] and evidence.labels >= limits["min_labels"]
    if cost is not None and ripe and covered and cost.mean <= margin:
        if cost.high <= margin:
            why = f"shown not to be worse by more than the margin: {summary}"
            return RolloutDecision("advance", why, "shown_not_worse")
        return RolloutDecision("advance", f"not shown to be worse: {summary}", "not_shown_worse")
    if ripe and covered and not checked:
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
    if evidence.cost is None:
        return f"{evidence.labels:,} labels known, no whole day of them"
    cost = evidence.cost
    coverage = f"{evidence.coverage:.0%}" if evidence.coverage is not None else "none"
    return (
        f"cost {cost.mean:+.0f} per 1,000 ({1 - limits['alpha']:.0%} interval {cost.low:+.0f} to "
        f"{cost.high:+.0f}, margin {limits['margin_cost']:g}) over {_count_days(cost.n)} and "
        f"{evidence.labels:,} labels, {coverage} of those due"
    )


def _count_days(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"
