"""Tests of the rollout policy: bad challengers are withdrawn in time, healthy ones advance."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitoring.measures.arms import ArmEvidence
from monitoring.measures.sequential import Interval
from pipelines.flows import turn_rollout
from pipelines.release import rollout_policy
from pipelines.release.audit import approval_rules
from serving.release.document import Stage
from settings import CODE_PATTERN, UserError
from tests.slice_params import shipped_params

DOCUMENT = Path(__file__).parents[3] / "docs" / "rollout.md"
SINCE = datetime(2013, 4, 15, tzinfo=UTC)
GOOD_COST = Interval(2, 5.0, -130.0, 140.0)
SHADOW = ArmEvidence(
    requests=2800, days=3, slower_ms=0.1, moved=Interval(2800, 0.01, 0.0, 0.02), labels=1900,
    coverage=0.99, cost=GOOD_COST,
)  # fmt: skip
CANARY = ArmEvidence(
    requests=95, days=1, slower_ms=0.1, moved=Interval(95, 0.01, -0.04, 0.06)
)  # fmt: skip


@pytest.fixture(scope="module")
def policy() -> dict[str, Any]:
    found: dict[str, Any] = shipped_params()["rollout"]
    rollout_policy.require_rollout_policy(found)
    found["shadow"]["days"] = 2  # as many as the evidence below has
    return found


def step(
    stage: Stage,
    evidence: ArmEvidence,
    policy: dict[str, Any],
    *,
    days: int = 0,
    live: bool = True,
    overridden: tuple[str, ...] = (),
) -> rollout_policy.RolloutDecision:
    as_of = SINCE + timedelta(days=days)
    return rollout_policy.next_rollout_step(
        stage, SINCE, evidence, policy, as_of, live=live, overridden=overridden
    )


def test_a_healthy_challenger_moves_from_shadow_to_canary_to_champion(
    policy: dict[str, Any],
) -> None:
    advanced = step("shadow", SHADOW, policy)
    assert (advanced.action, advanced.code, advanced.cause) == ("advance", "not_shown_worse", "")
    promoted = step("canary", CANARY, policy)
    assert (promoted.action, promoted.code) == ("promote", "no_harm")


@pytest.mark.parametrize(
    ("cost", "code", "says"),
    [
        (Interval(7, 5.0, -133.0, 143.0), "not_shown_worse",
         "not shown to be worse: cost +5 per 1,000 (95% interval -133 to +143, margin 25)"),
        (Interval(7, -90.0, -205.0, 25.0), "shown_not_worse",
         "shown not to be worse by more than the margin: cost -90 per 1,000 (95% interval -205 to "
         "+25, margin 25)"),
        (Interval(7, 90.0, 26.0, 154.0), "cost",
         "shown to be worse by more than the margin: cost +90 per 1,000 (95% interval +26 to +154, "
         "margin 25)"),
    ],
)  # fmt: skip
def test_a_decision_claims_only_what_the_interval_shows(
    cost: Interval, code: str, says: str, policy: dict[str, Any]
) -> None:
    decision = step("shadow", replace(SHADOW, cost=cost), policy)
    assert decision.code == code
    assert decision.why.startswith(says)


def test_every_decision_code_is_documented() -> None:
    codes = [*rollout_policy.CODES, *approval_rules.REFUSALS]
    assert len(set(codes)) == len(codes)
    document = DOCUMENT.read_text()
    for code in codes:
        assert re.fullmatch(CODE_PATTERN, code)
        assert f"`{code}`" in document


def test_the_length_of_a_shadow_is_documented_and_a_turn_notes_a_shorter_one() -> None:
    params = shipped_params()
    days, turn = params["rollout"]["shadow"]["days"], params["turn"]["shadow_days"]
    document = DOCUMENT.read_text()
    assert f"`rollout.shadow.days: {days}`" in document
    assert f"`turn.shadow_days: {turn}`" in document
    assert turn_rollout.turn_shadow_days(params) == turn < days
    assert f"{turn} days" in turn_rollout.short_shadow_note(params)
    assert f"{days} days" in turn_rollout.short_shadow_note(params)
    params["rollout"]["shadow"]["days"] = 1
    assert (turn_rollout.turn_shadow_days(params), turn_rollout.short_shadow_note(params)) == (
        1,
        "",
    )


@pytest.mark.parametrize(
    ("change", "waits_for"),
    [
        ({"cost": None, "labels": 0}, "2 days and 1,000 labels, 85% of those due"),
        ({"cost": replace(GOOD_COST, n=1)}, "over 1 day and"),
        ({"labels": 999}, "999 labels"),
        ({"coverage": 0.5}, "50% of those due"),
        ({"coverage": None}, "none of those due"),
        ({"cost": Interval(2, 40.0, -90.0, 170.0)}, "cost +40"),
    ],
)
def test_a_shadow_without_enough_evidence_waits_then_is_withdrawn(
    change: dict[str, Any], waits_for: str, policy: dict[str, Any]
) -> None:
    evidence = replace(SHADOW, **change)
    waits = step("shadow", evidence, policy)
    assert waits.action == "stay"
    assert waits_for in waits.why
    over = step("shadow", replace(evidence, days=policy["shadow"]["max_days"]), policy)
    assert (over.action, over.cause) == ("withdraw", "time")
    by_the_clock = step("shadow", evidence, policy, days=policy["shadow"]["max_days"])
    assert (by_the_clock.action, by_the_clock.cause) == ("withdraw", "time")


def test_a_clearly_worse_challenger_is_withdrawn_at_once(policy: dict[str, Any]) -> None:
    worse = replace(SHADOW, cost=Interval(1, 300.0, 26.0, 574.0), days=1)
    decision = step("shadow", worse, policy)
    assert (decision.action, decision.cause) == ("withdraw", "cost")
    barely = replace(worse, cost=Interval(1, 300.0, 25.0, 575.0))
    assert step("shadow", barely, policy).action == "stay"
    assert step("shadow", replace(worse, coverage=0.5), policy).action == "stay"


@pytest.mark.parametrize("stage", ["shadow", "canary", "experiment"])
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"errors": 3}, "errors"),
        ({"slower_ms": 5.1}, "slow"),
        ({"moved": Interval(95, -0.2, -0.25, -0.151)}, "scores"),
        ({"moved": Interval(95, 0.2, 0.151, 0.25)}, "scores"),
    ],
)
def test_harm_withdraws_a_challenger_in_any_stage(
    stage: Stage, change: dict[str, Any], cause: str, policy: dict[str, Any]
) -> None:
    good = CANARY if stage != "shadow" else SHADOW
    decision = step(stage, replace(good, **change), policy)
    assert (decision.action, decision.cause) == ("withdraw", cause)


@pytest.mark.parametrize(
    ("change", "cause", "then"),
    [
        ({"errors": 3}, "errors", "advance"),
        ({"slower_ms": 5.1}, "slow", "advance"),
        ({"moved": Interval(95, 0.2, 0.151, 0.25)}, "scores", "advance"),
        ({"cost": Interval(2, 300.0, 26.0, 574.0)}, "cost", "advance"),
        ({"labels": 0, "days": 99}, "time", "stay"),
    ],
)
def test_an_override_disables_its_guard_and_no_other(
    change: dict[str, Any], cause: str, then: str, policy: dict[str, Any]
) -> None:
    evidence = replace(SHADOW, **change)
    decision = step("shadow", evidence, policy)
    assert (decision.action, decision.cause) == ("withdraw", cause)
    assert step("shadow", evidence, policy, overridden=(cause,)).action == then
    others = tuple({"errors", "slow", "scores", "cost", "time"} - {cause})
    assert step("shadow", evidence, policy, overridden=others).action == "withdraw"


@pytest.mark.parametrize(
    "change",
    [
        {"errors": 2},
        {"slower_ms": 5.0},
        {"moved": Interval(95, 0.2, 0.149, 0.25)},
        {"moved": Interval(49, 0.3, 0.2, 0.4), "requests": 49},
        {"slower_ms": 50.0, "requests": 49},
    ],
)
def test_differences_within_the_limits_withdraw_nothing(
    change: dict[str, Any], policy: dict[str, Any]
) -> None:
    assert step("canary", replace(CANARY, **change), policy).action != "withdraw"


def test_a_replay_ignores_the_wall_clock(policy: dict[str, Any]) -> None:
    slow = replace(CANARY, slower_ms=500.0)
    assert step("canary", slow, policy, live=False).action == "promote"
    assert step("canary", slow, policy, live=True).action == "withdraw"
    later, idle = SINCE + timedelta(days=5000), replace(CANARY, days=0)
    decision = rollout_policy.next_rollout_step("canary", later, idle, policy, SINCE)
    assert decision.action == "stay", "a release that is later than the replay has no age"


def test_a_canary_without_requests_is_withdrawn_in_the_end(policy: dict[str, Any]) -> None:
    idle = ArmEvidence(requests=4, days=1)
    assert step("canary", idle, policy).action == "stay"
    decision = step("canary", idle, policy, days=policy["canary"]["max_days"])
    assert (decision.action, decision.cause) == ("withdraw", "time")


def test_an_experiment_is_not_ended_by_the_rollout(policy: dict[str, Any]) -> None:
    assert step("experiment", CANARY, policy, days=400).action == "stay"


def test_a_policy_with_missing_unknown_or_impossible_settings_is_refused(
    policy: dict[str, Any],
) -> None:
    for part, names in rollout_policy.POLICY_SETTINGS.items():
        for name in names:
            lacking = {k: v for k, v in policy[part].items() if k != name}
            with pytest.raises(UserError, match=name):
                rollout_policy.require_rollout_policy({**policy, part: lacking})
    with pytest.raises(UserError, match="max_eror"):
        rollout_policy.require_rollout_policy({**policy, "harm": {**policy["harm"], "max_eror": 1}})
    with pytest.raises(UserError, match=r"shadow\.days"):
        rollout_policy.require_rollout_policy(
            {**policy, "shadow": {**policy["shadow"], "days": 15}}
        )
    with pytest.raises(UserError, match="percent"):
        rollout_policy.require_rollout_policy(
            {**policy, "canary": {**policy["canary"], "percent": 0}}
        )
