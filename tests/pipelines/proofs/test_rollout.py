"""Proofs of the rollout: each bad challenger is stopped by its guard, and a weak guard fails."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.proofs import rollout_proofs
from pipelines.proofs.rollout_proofs import ChallengerProof
from pipelines.release import rollout_policy
from settings import Settings

HOME = Path(__file__).parents[3]
TOOTHLESS: dict[str, dict[str, Any]] = {
    "errors": {"max_errors": 10**6}, "slow": {"max_slower_ms": 1e6}, "scores": {"max_moved": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(home=HOME)


@pytest.fixture(scope="module")
def proofs(settings: Settings) -> list[ChallengerProof]:
    policy = copy.deepcopy(settings.params()["rollout"])
    # A case without labels waits six days.
    policy["shadow"] |= {"days": 2, "max_days": 6}
    return rollout_proofs.prove_rollout(settings, policy)


def test_every_case_is_ended_by_its_own_guard_within_its_limits(
    proofs: list[ChallengerProof],
) -> None:
    assert [each.case.name for each in proofs if not each.holds] == []
    assert {"errors", "slow", "scores", "cost", "time", ""} == {each.case.cause for each in proofs}
    in_canary = {each.case.cause for each in proofs if each.case.first_stage == "canary"}
    assert in_canary == {"errors", "slow", "scores"}
    assert rollout_proofs.print_challenger_proofs(proofs)


def test_a_guard_without_teeth_fails_its_cases(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = copy.deepcopy(settings.params()["rollout"])
    for limits in TOOTHLESS.values():
        policy["harm"] |= limits
    policy["canary"]["max_days"] = 2
    all_cases: Callable[[dict[str, Any]], list[rollout_proofs.ChallengerCase]] = (
        rollout_proofs.challenger_cases
    )
    short = [each for each in all_cases(policy) if each.first_stage == "canary"]
    monkeypatch.setattr(rollout_proofs, "challenger_cases", lambda _: short)
    proofs = rollout_proofs.prove_rollout(settings, policy)
    assert [each.holds for each in proofs] == [False] * 3
    assert [each.decision.action for each in proofs] == ["promote"] * 3
    assert not rollout_proofs.print_challenger_proofs(proofs)


def test_another_guard_or_a_late_stop_is_a_failure(proofs: list[ChallengerProof]) -> None:
    case = next(each.case for each in proofs if each.case.name == "errors, in the canary")
    decision = rollout_policy.RolloutDecision("withdraw", "slow, at last", "slow")
    other = replace(proofs[0], case=case, decision=decision, requests=10, days=0.1)
    assert not other.holds
    by_its_own = replace(
        other, decision=rollout_policy.RolloutDecision("withdraw", "errors", "errors")
    )
    assert by_its_own.holds
    assert not replace(by_its_own, requests=10_000).holds
