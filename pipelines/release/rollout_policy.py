"""The next step of a challenger: a pure function of its stage, the evidence and the policy.

registered → shadow (every request mirrored) → canary (some requests answered) → champion, or
withdrawn. In the shadow cost is judged, as labels become known; a canary is there to stop harm.
What could not be judged in its time is withdrawn: a release that nobody can vouch for is none.
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
GUARDS = ("errors", "slow", "scores", "cost", "time")  # that withdraw a challenger
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
    """A challenger's version and stage, since when (UTC, as the release says)."""

    version: str
    stage: Stage
    since: datetime


@dataclass(frozen=True)
class RolloutDecision:
    """The action, the reason in a sentence for people, and its stable code, one of `CODES`."""

    action: RolloutAction
    why: str
    code: str

    @property
    def cause(self) -> str:
        """The guard that stopped it or was overridden; empty if there is none."""
        return self.code if self.code in GUARDS or self.code == "override" else ""

    @property
    def moves(self) -> bool:
        return self.action != "stay"


def require_rollout_policy(policy: dict[str, Any]) -> None:
    """Raises `UserError` for a policy that lacks a limit, or has one that is unknown or absurd."""
    for part, names in POLICY_SETTINGS.items():
        if set(policy.get(part, {})) != names:
            wrong = sorted(names ^ set(policy.get(part, {})))
            raise UserError(
                f"`rollout.{part}` in usecase/params.yaml lacks, or does not know: "
                f"{', '.join(wrong)}."
            )
    for part in ("shadow", "canary"):
        if policy[part]["days"] > policy[part]["max_days"]:
            raise UserError(
                f"`rollout.{part}.days` is beyond `max_days` in usecase/params.yaml: every "
                "challenger would be withdrawn. Raise the one or lower the other."
            )
    if not 0 < policy["canary"]["percent"] < 100:
        raise UserError("`rollout.canary.percent` must lie between 0 and 100.")


def next_rollout_step(
    state: ChallengerState,
    evidence: ArmEvidence,
    policy: dict[str, Any],
    as_of: datetime,
    *,
    live: bool = True,
    set_aside: Collection[str] = (),
) -> RolloutDecision:
    """The next step of the challenger `state` at `as_of`.

    Not `live`: requests are replayed as fast as may be, and how long one took says nothing.
    `set_aside`: the causes that somebody has overridden, by which it is not stopped.
    """
    stopped = find_harm(evidence, policy["harm"], live=live, set_aside=set_aside)
    if stopped is not None or state.stage == "experiment":
        return stopped or RolloutDecision(
            "stay", "an experiment ends by its plan, or by harm", "in_experiment"
        )
    # A replay is at another time than the release, which then says nothing of days gone by.
    days = max(evidence.days, (as_of - state.since).days if as_of > state.since else 0)
    if state.stage == "shadow":
        return _in_shadow(evidence, policy["shadow"], days, set_aside)
    return _in_canary(evidence, policy["canary"], days, set_aside)


def find_harm(
    evidence: ArmEvidence, limits: dict[str, Any], *, live: bool, set_aside: Collection[str] = ()
) -> RolloutDecision | None:
    """What must stop a challenger in any stage; None if nothing does."""
    seen = f"{evidence.requests:,} requests"
    if evidence.errors >= limits["max_errors"] and "errors" not in set_aside:
        return RolloutDecision(
            "withdraw", f"it failed on {evidence.errors} of {seen}, {limits['max_errors']} are too "
            "many", "errors",
        )  # fmt: skip
    slower = evidence.slower_ms
    enough = evidence.requests - evidence.errors >= limits["min_requests"]
    judged = live and enough and "slow" not in set_aside
    if judged and slower is not None and slower > limits["max_slower_ms"]:
        return RolloutDecision(
            "withdraw", f"a score takes {slower:.1f} ms longer than the champion's (median of "
            f"{seen}), more than {limits['max_slower_ms']:g}", "slow",
        )  # fmt: skip
    moved, limit = evidence.moved, limits["max_moved"]
    judged = enough and "scores" not in set_aside
    if judged and moved is not None and (moved.low > limit or moved.high < -limit):
        return RolloutDecision(
            "withdraw", f"its scores lie {moved.mean:+.3f} from the champion's (interval "
            f"{moved.low:+.3f} to {moved.high:+.3f}, {seen}), more than {limit:g}", "scores",
        )  # fmt: skip
    return None


def _in_shadow(
    evidence: ArmEvidence, limits: dict[str, Any], days: int, set_aside: Collection[str]
) -> RolloutDecision:
    cost, margin = evidence.cost, limits["margin_cost"]
    covered = evidence.coverage is not None and evidence.coverage >= limits["min_coverage"]
    told = _told_cost(evidence, limits)
    # With labels missing no cost is to be believed, and what is missing may be the costly part.
    judged = "cost" not in set_aside
    if judged and cost is not None and covered and cost.low > margin:
        why = f"shown to be worse by more than the margin: {told}"
        return RolloutDecision("withdraw", why, "cost")
    ripe = cost is not None and cost.n >= limits["days"] and evidence.labels >= limits["min_labels"]
    if cost is not None and ripe and covered and cost.mean <= margin:
        if cost.high <= margin:
            why = f"shown not to be worse by more than the margin: {told}"
            return RolloutDecision("advance", why, "shown_not_worse")
        return RolloutDecision("advance", f"not shown to be worse: {told}", "not_shown_worse")
    if ripe and covered and not judged:
        return RolloutDecision("advance", f"its cost is overridden: {told}", "override")
    needed = (
        f"{limits['days']} days and {limits['min_labels']:,} labels, {limits['min_coverage']:.0%} "
        f"of those due, and a mean cost within the margin are needed; {_counted(days)} over"
    )
    if days >= limits["max_days"] and "time" not in set_aside:
        return RolloutDecision("withdraw", f"its time is over: {told}; {needed}", "time")
    return RolloutDecision("stay", f"in the shadow, {told}; {needed}", "in_shadow")


def _in_canary(
    evidence: ArmEvidence, limits: dict[str, Any], days: int, set_aside: Collection[str]
) -> RolloutDecision:
    seen = f"{evidence.requests:,} requests on {_counted(days)}"
    if days >= limits["days"] and evidence.requests >= limits["min_requests"]:
        why = f"no harm in {seen}, {evidence.errors} of them failed"
        return RolloutDecision("promote", why, "no_harm")
    if days >= limits["max_days"] and "time" not in set_aside:
        return RolloutDecision(
            "withdraw", f"{seen} are too few to tell, and its time is over", "time"
        )  # fmt: skip
    needed = f"{limits['min_requests']} on {limits['days']} are needed"
    return RolloutDecision("stay", f"in the canary, no harm in {seen}; {needed}", "in_canary")


def _told_cost(evidence: ArmEvidence, limits: dict[str, Any]) -> str:
    """The mean difference with its interval, which holds at every look, and the margin."""
    if evidence.cost is None:
        return f"{evidence.labels:,} labels known, no whole day of them"
    cost = evidence.cost
    coverage = f"{evidence.coverage:.0%}" if evidence.coverage is not None else "none"
    return (
        f"cost {cost.mean:+.0f} per 1,000 ({1 - limits['alpha']:.0%} interval {cost.low:+.0f} to "
        f"{cost.high:+.0f}, margin {limits['margin_cost']:g}) over {_counted(cost.n)} and "
        f"{evidence.labels:,} labels, {coverage} of those due"
    )


def _counted(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"
