"""Tests of the rollout controller with a real registry, log and labels."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.release import approvals, promotion, rollback, rollout_controller, rollout_policy
from settings import Settings
from tests.pipelines.release.logged_cases import (
    ME,
    Cases,
    Scores,
    control,
    failing_score,
    serve,
    worse_score,
)
from tests.released import audit_entries, release_aliases, served_release
from tests.use_case import change_params


def test_a_healthy_version_moves_from_shadow_to_canary_to_champion(
    home: Settings, cases: Cases
) -> None:
    assert control(home, 1)["told"] == "No challenger."
    entered = rollout_controller.start_rollout(home, "2", **ME)
    assert (entered["stage"], entered["before"]) == ("shadow", "1")
    assert rollout_controller.start_rollout(home, "2", **ME) == entered
    serve(home, cases, 3)
    assert control(home, 1)["action"] == "stay"
    assert control(home, 2)["action"] == "stay", "of the second day labels are still to come"
    decision = control(home, 3)
    assert (decision["action"], decision["evidence"]["cost"]["n"]) == ("advance", 2)
    challenger = served_release(home).challenger
    assert challenger is not None
    assert (challenger.stage, challenger.percent) == ("canary", 10)
    assert control(home, 3)["action"] == "stay"
    assert control(home, 2)["action"] == "stay", "a look back at the shadow moves no canary"
    serve(home, cases, 4, skip=3)
    assert control(home, 4)["action"] == "promote"
    assert served_release(home).champion.version == "2"
    assert served_release(home).challenger is None
    assert release_aliases(home) == {"champion": "2"}
    moves = [(e.action, e.by) for e in audit_entries(home)]
    assert moves == [("promote", "me"), ("challenge", "me"), ("challenge", "rollout"),
                     ("promote", "rollout")]  # fmt: skip
    assert "over 2 days and 1," in audit_entries(home)[2].why


@pytest.mark.parametrize(("says", "cause"), [(worse_score, "cost"), (failing_score, "errors")])
def test_a_bad_version_is_withdrawn_and_barred(
    home: Settings, cases: Cases, says: Scores, cause: str
) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, cases, 3, says)
    decision = control(home, 3)
    assert (decision["action"], decision["code"]) == ("withdraw", cause)
    assert served_release(home).challenger is None
    assert served_release(home).champion.version == "1"
    again = rollout_controller.start_rollout(home, "2", **ME)
    assert again["version"] is None
    assert "took it back" in again["refused"]


def test_an_overridden_guard_lets_the_version_advance(home: Settings, cases: Cases) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    until = datetime.now(UTC) + timedelta(days=1)
    approvals.override(home, "2", gate="cost", until=until, **ME)
    serve(home, cases, 3, worse_score)
    decision = control(home, 3)
    assert (decision["action"], decision["code"]) == ("advance", "override")
    assert audit_entries(home)[-1].why.startswith("its cost is overridden")
    assert decision["evidence"]["overridden"] == ["cost"]


def test_a_failing_canary_is_withdrawn_by_its_own_requests(home: Settings, cases: Cases) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, cases, 3)
    assert control(home, 3)["action"] == "advance"
    serve(home, cases, 4, failing_score, skip=3)
    decision = control(home, 4)
    assert (decision["action"], decision["stage"], decision["code"]) == (
        "withdraw",
        "canary",
        "errors",
    )
    assert decision["evidence"]["requests"] < 200


def test_harm_is_stopped_without_labels(home: Settings, cases: Cases) -> None:
    shutil.rmtree(home.data / "validated")
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, cases, 1)
    assert "0 labels known" in control(home, 1)["told"]
    rollout_controller.start_rollout(home, "3", **ME)
    serve(home, cases, 2, failing_score, skip=1)
    assert control(home, 2)["code"] == "errors"


def test_of_two_controllers_one_moves_and_the_other_is_superseded(
    home: Settings, cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, cases, 3)
    step = rollout_policy.next_rollout_step

    def slow_to_decide(*given: Any, **named: Any) -> rollout_policy.RolloutDecision:
        decided = step(*given, **named)
        rollback.freeze(home, **ME)
        return decided

    monkeypatch.setattr(rollout_policy, "next_rollout_step", slow_to_decide)
    decision = control(home, 3)
    assert (decision["action"], decision["code"]) == ("stay", "superseded")
    assert "was based on generation" in decision["told"]
    assert served_release(home).frozen
    assert served_release(home).challenger is None
    assert rollout_controller.start_rollout(home, "3", **ME)["refused"].startswith(
        "Version 3 is not released"
    )


def test_a_shadow_without_a_required_approval_does_not_advance(
    home: Settings, cases: Cases
) -> None:
    change_params(home, "release", policy="manual")
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, cases, 3)
    assert control(home, 3)["code"] == "not_approved"
    challenger = served_release(home).challenger
    assert challenger is not None
    assert challenger.stage == "shadow"
    approvals.approve(home, "2", **ME)
    assert control(home, 3)["action"] == "advance"


def test_a_newer_version_replaces_a_challenger_but_no_experiment(
    home: Settings, cases: Cases
) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    rollout_controller.start_rollout(home, "3", **ME)
    challenger = served_release(home).challenger
    assert challenger is not None
    assert challenger.model.version == "3"
    promotion.withdraw(home, bar=False, **ME)
    promotion.challenge(home, "2", "experiment", 50, name="a test", **ME)
    assert rollout_controller.rollout_challenger(home) is None
    assert (
        "experiment with version 2 is running"
        in rollout_controller.start_rollout(home, "3", **ME)["refused"]
    )


def test_the_rollout_commands_report_results_and_mistakes(home: Settings, cases: Cases) -> None:
    def mlops(*command: str, code: int = 0) -> str:
        with patch.dict(os.environ, {"MLOPS_HOME": str(home.home)}):
            result = CliRunner().invoke(app, command)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return " ".join(result.output.split())

    assert "No challenger." in mlops("rollout", "--as-of", "2013-04-03")
    assert "No experiment is running" in mlops("experiment", "status", code=2)
    serve(home, cases, 2)
    plan = ("--version", "2", "--effect", "60", "--days", "2", "--as-of", "2013-04-03")
    assert "cost or brier" in mlops("experiment", "start", *plan, "--metric", "joy", code=2)
    assert "answers 50 % of the keys for 2 days" in mlops("experiment", "start", *plan)
    serve(home, cases, 3, skip=2)
    assert "too early: 0 of 2" in mlops("experiment", "status", "--as-of", "2013-04-04")
    stopped = mlops("experiment", "stop", "--as-of", "2013-04-04", "--reason", "no time")
    assert "The champion is alone. Verdict on version 2: too early" in stopped
    assert "(no time)" in audit_entries(home)[-1].why
