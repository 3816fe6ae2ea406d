"""Proofs of the rollout: each bad challenger is stopped by its guard, and a weak guard fails."""

import copy
from pathlib import Path
from typing import Any

import pytest

from pipelines.proofs import proof_runs, rollout_proofs
from pipelines.proofs.challengers import ChallengerCase
from pipelines.proofs.proof_runs import Proof
from pipelines.release import rollout_policy
from settings import Settings, UserError

HOME = Path(__file__).parents[3]
TOOTHLESS: dict[str, dict[str, Any]] = {
    "errors": {"max_errors": 10**6}, "slow": {"max_slower_ms": 1e6}, "scores": {"max_moved": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(home=HOME)


@pytest.fixture(scope="module")
def policy(settings: Settings) -> dict[str, Any]:
    """A case without labels waits six days."""
    policy: dict[str, Any] = copy.deepcopy(settings.params()["rollout"])
    policy["shadow"] |= {"days": 2, "max_days": 6}
    return policy


@pytest.fixture(scope="module")
def cases(policy: dict[str, Any]) -> list[ChallengerCase]:
    return rollout_proofs.challenger_cases(policy)


@pytest.fixture(scope="module")
def proofs(settings: Settings, policy: dict[str, Any]) -> list[Proof]:
    return list(rollout_proofs.prove_rollout(settings, policy=policy))


def test_every_case_is_ended_by_its_own_guard_within_its_limits(
    proofs: list[Proof], cases: list[ChallengerCase]
) -> None:
    assert [each for each in proofs if not each.holds] == []
    assert [each.name for each in proofs] == [each.name for each in cases]
    assert {"errors", "slow", "scores", "cost", "time", ""} == {each.cause for each in cases}
    in_canary = {each.cause for each in cases if each.first_stage == "canary"}
    assert in_canary == {"errors", "slow", "scores"}
    assert proof_runs.report_proofs(proofs, "Proofs of rollout")


def test_a_guard_without_teeth_fails_its_cases(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = copy.deepcopy(settings.params()["rollout"])
    for limits in TOOTHLESS.values():
        policy["harm"] |= limits
    policy["canary"]["max_days"] = 2
    short = [
        each for each in rollout_proofs.challenger_cases(policy) if each.first_stage == "canary"
    ]
    monkeypatch.setattr(rollout_proofs, "challenger_cases", lambda _: short)
    proofs = list(rollout_proofs.prove_rollout(settings, policy=policy))
    assert [each.holds for each in proofs] == [False] * 3
    assert [each.actual for each in proofs] == ["promote, in canary"] * 3
    assert not proof_runs.report_proofs(proofs, "Proofs of rollout")


def test_another_guard_or_a_late_stop_is_a_failure(cases: list[ChallengerCase]) -> None:
    case = next(each for each in cases if each.name.startswith("errors, in the canary"))

    def holds(code: str, requests: int) -> bool:
        decision = rollout_policy.RolloutDecision("withdraw", f"{code}, at last", code)
        args = (case, "canary", decision, requests, 0, 0.1)
        return rollout_proofs.build_challenger_proof(*args).holds

    assert not holds("slow", 10)
    assert holds("errors", 10)
    assert not holds("errors", 10_000)


def test_a_selection_runs_and_an_unknown_challenger_is_a_mistake_of_the_user(
    settings: Settings, policy: dict[str, Any]
) -> None:
    [proof] = rollout_proofs.prove_rollout(settings, "upside down", policy)
    assert proof.holds, proof
    with pytest.raises(UserError, match="No case contains 'nonsense'"):
        list(rollout_proofs.prove_rollout(settings, "nonsense", policy))
