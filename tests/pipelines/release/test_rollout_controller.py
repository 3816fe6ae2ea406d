"""Tests of the rollout controller with a real registry, log and labels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from features import partitions
from pipelines.cli.main import app
from pipelines.proofs import rollout_proofs
from pipelines.release import (
    approvals,
    experiment,
    promotion,
    rollback,
    rollout_controller,
    rollout_policy,
)
from serving.prediction_log.writer import PredictionLog
from serving.release.document import Release, read_release
from serving.release.routing import assign_arm
from settings import LoopError, Settings, UserError
from tests.released import audit_entries, make_registry, release_aliases
from usecase import source, target

START = datetime(2013, 4, 1, tzinfo=UTC)
DAYS = 5
ME = {"by": "me", "why": "it is right"}
Scores = Callable[[dict[str, Any]], float | None]
Cases = tuple[Settings, pd.DataFrame]


def healthy_score(row: dict[str, Any]) -> float | None:
    return float(np.clip(row["score"] + 0.2 * row["noise"], 0, 1))


def worse_score(row: dict[str, Any]) -> float | None:
    return float(row["another"])


def failing_score(row: dict[str, Any]) -> float | None:
    return None if row["number"] % 10 == 0 else healthy_score(row)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """Version 1 is champion; five days of cases with scores, and the outcomes."""
    settings = make_registry(tmp_path_factory.mktemp("made") / "home")
    rollout_controller.start_rollout(settings, "1", **ME)
    for day in partitions.day_range(START.date(), (START + timedelta(days=DAYS)).date()):
        rows = source.fetch(target.LABEL_FEED, day)
        path = partitions.partition_path(settings.data, "validated", target.LABEL_FEED, day)
        partitions.write_partition(rows, path)
    cases, _ = rollout_proofs.draw_scored_cases(START, DAYS, settings.params())
    return settings, cases


@pytest.fixture
def home(made: Cases, tmp_path: Path) -> Settings:
    return Settings(home=shutil.copytree(made[0].home, tmp_path / "home"))


def serve(
    settings: Settings, made: Cases, days: int, says: Scores = healthy_score, skip: int = 0
) -> None:
    """Log the cases of these days as the service would under the current release."""
    current = released_document(settings)
    challenger = current.challenger
    since, until = START + timedelta(days=skip), START + timedelta(days=days)
    at = made[1]["decision_time"]
    log = PredictionLog(settings.predictions)
    for row in made[1][(at >= since) & (at < until)].to_dict("records"):
        routed, said = assign_arm(row["key"], current), says(row)
        mirrored = challenger is not None and challenger.stage == "shadow"
        answers = routed == "challenger" and said is not None
        model = challenger.model if challenger and answers else current.champion
        error = "RuntimeError: no" if said is None else None
        log.append({
            "request_id": f"{current.generation}-{row['key']}", "key": row["key"],
            "probability": said if answers else row["score"], "decision": False,
            "model_version": model.version, "model_digest": model.digest,
            "decision_time": row["decision_time"].to_pydatetime(),
            "features_as_of": row["decision_time"].to_pydatetime(),
            "logged_at": datetime.now(UTC), "request": {}, "features": {},
            "arm": routed, "generation": current.generation, "scoring_ms": 0.1,
            "shadow_version": challenger.model.version if challenger and mirrored else None,
            "shadow_probability": said if mirrored else None,
            "shadow_ms": 0.1 if mirrored else None, "shadow_error": error if mirrored else None,
            "challenger_version": challenger.model.version if challenger else None,
            "challenger_error": error if routed == "challenger" else None,
        })  # fmt: skip
    log.close()


def released_document(settings: Settings) -> Release:
    found = read_release(settings.release_file)
    assert found is not None
    return found


def control(settings: Settings, day: float) -> dict[str, Any]:
    as_of = START + timedelta(days=day)
    return rollout_controller.control_rollout(settings, as_of, live=False, shadow_days=2)


def test_a_healthy_version_moves_from_shadow_to_canary_to_champion(
    home: Settings, made: Cases
) -> None:
    assert control(home, 1)["told"] == "No challenger."
    entered = rollout_controller.start_rollout(home, "2", **ME)
    assert (entered["stage"], entered["before"]) == ("shadow", "1")
    assert rollout_controller.start_rollout(home, "2", **ME) == entered
    serve(home, made, 3)
    assert control(home, 1)["action"] == "stay"
    assert control(home, 2)["action"] == "stay", "of the second day labels are still to come"
    found = control(home, 3)
    assert (found["action"], found["evidence"]["cost"]["n"]) == ("advance", 2)
    challenger = released_document(home).challenger
    assert challenger is not None
    assert (challenger.stage, challenger.percent) == ("canary", 10)
    assert control(home, 3)["action"] == "stay"
    assert control(home, 2)["action"] == "stay", "a look back at the shadow moves no canary"
    serve(home, made, 4, skip=3)
    assert control(home, 4)["action"] == "promote"
    assert released_document(home).champion.version == "2"
    assert released_document(home).challenger is None
    assert release_aliases(home) == {"champion": "2"}
    moves = [(e.action, e.by) for e in audit_entries(home)]
    assert moves == [("promote", "me"), ("challenge", "me"), ("challenge", "rollout"),
                     ("promote", "rollout")]  # fmt: skip
    assert "over 2 days and 1," in audit_entries(home)[2].why


@pytest.mark.parametrize(("says", "cause"), [(worse_score, "cost"), (failing_score, "errors")])
def test_a_bad_version_is_withdrawn_and_barred(
    home: Settings, made: Cases, says: Scores, cause: str
) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, made, 3, says)
    found = control(home, 3)
    assert (found["action"], found["code"]) == ("withdraw", cause)
    assert released_document(home).challenger is None
    assert released_document(home).champion.version == "1"
    again = rollout_controller.start_rollout(home, "2", **ME)
    assert again["version"] is None
    assert "took it back" in again["refused"]


def test_an_overridden_guard_lets_the_version_advance(home: Settings, made: Cases) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    until = datetime.now(UTC) + timedelta(days=1)
    approvals.override(home, "2", gate="cost", until=until, **ME)
    serve(home, made, 3, worse_score)
    found = control(home, 3)
    assert (found["action"], found["code"]) == ("advance", "override")
    assert audit_entries(home)[-1].why.startswith("its cost is overridden")
    assert found["evidence"]["overridden"] == ["cost"]


def test_a_failing_canary_is_withdrawn_by_its_own_requests(home: Settings, made: Cases) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, made, 3)
    assert control(home, 3)["action"] == "advance"
    serve(home, made, 4, failing_score, skip=3)
    found = control(home, 4)
    assert (found["action"], found["stage"], found["code"]) == ("withdraw", "canary", "errors")
    assert found["evidence"]["requests"] < 200


def test_harm_is_stopped_without_labels(home: Settings, made: Cases) -> None:
    shutil.rmtree(home.data / "validated")
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, made, 1)
    assert "0 labels known" in control(home, 1)["told"]
    rollout_controller.start_rollout(home, "3", **ME)
    serve(home, made, 2, failing_score, skip=1)
    assert control(home, 2)["code"] == "errors"


def test_of_two_controllers_one_moves_and_the_other_is_superseded(
    home: Settings, made: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, made, 3)
    step = rollout_policy.next_rollout_step

    def slow_to_decide(*given: Any, **named: Any) -> rollout_policy.RolloutDecision:
        decided = step(*given, **named)
        rollback.freeze(home, **ME)
        return decided

    monkeypatch.setattr(rollout_policy, "next_rollout_step", slow_to_decide)
    found = control(home, 3)
    assert (found["action"], found["code"]) == ("stay", "superseded")
    assert "was based on generation" in found["told"]
    assert released_document(home).frozen
    assert released_document(home).challenger is None
    assert rollout_controller.start_rollout(home, "3", **ME)["refused"].startswith(
        "Version 3 is not released"
    )


def test_a_shadow_without_a_required_approval_does_not_advance(home: Settings, made: Cases) -> None:
    text = home.params_file.read_text()
    home.params_file.write_text(text.replace("policy: auto", "policy: manual"))
    rollout_controller.start_rollout(home, "2", **ME)
    serve(home, made, 3)
    assert control(home, 3)["code"] == "not_approved"
    challenger = released_document(home).challenger
    assert challenger is not None
    assert challenger.stage == "shadow"
    approvals.approve(home, "2", **ME)
    assert control(home, 3)["action"] == "advance"


def test_a_newer_version_replaces_a_challenger_but_no_experiment(
    home: Settings, made: Cases
) -> None:
    rollout_controller.start_rollout(home, "2", **ME)
    rollout_controller.start_rollout(home, "3", **ME)
    challenger = released_document(home).challenger
    assert challenger is not None
    assert challenger.model.version == "3"
    promotion.withdraw(home, bar=False, **ME)
    promotion.challenge(home, "2", "experiment", 50, name="a test", **ME)
    assert rollout_controller.rollout_challenger(home) is None
    assert (
        "experiment with version 2 is running"
        in rollout_controller.start_rollout(home, "3", **ME)["refused"]
    )


def test_an_experiment_from_plan_to_recorded_result(home: Settings, made: Cases) -> None:
    plan = {"percent": 50.0, "metric": "cost", "effect": 60.0, "by": "me", "why": "to know"}
    as_of = START + timedelta(days=2)
    with pytest.raises(UserError, match="wait for labels"):
        experiment.start_experiment(home, "2", days=2, as_of=as_of, **plan)
    serve(home, made, 2)
    made_plan = experiment.start_experiment(home, "2", days=2, as_of=as_of, **plan)
    assert made_plan.days_needed > 2
    assert "too short" in experiment.describe_plan(made_plan)
    serve(home, made, 4, worse_score, skip=2)
    _, early = experiment.experiment_status(home, START + timedelta(days=3.6))
    assert early.verdict == "early"
    _, found = experiment.experiment_status(home, START + timedelta(days=4.6))
    assert found.verdict != "early"
    assert found.interval.n == 2
    assert found.interval.mean > 100
    assert control(home, 4.6)["action"] == "stay"
    experiment.stop_experiment(home, START + timedelta(days=4.6), by="me")
    entry = audit_entries(home)[-1]
    assert (entry.action, found.told in entry.why) == ("withdraw", True)
    assert released_document(home).challenger is None
    with pytest.raises(UserError, match="No experiment"):
        experiment.experiment_status(home, as_of)


def test_a_changed_plan_gives_no_verdict(
    home: Settings, made: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.release.audit import entry_store

    serve(home, made, 2)
    as_of = START + timedelta(days=2)
    experiment.start_experiment(
        home, "2", percent=50, metric="cost", effect=50, days=2, as_of=as_of, **ME
    )
    written = entry_store.read_evidence
    monkeypatch.setattr(
        entry_store,
        "read_evidence",
        lambda *given: written(*given).replace('"effect": 50.0', '"effect": 5.0'),
    )
    with pytest.raises(LoopError, match="was changed after the start"):
        experiment.experiment_status(home, as_of)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metric": "joy"}, "cost or brier"), ({"effect": 0.0}, "above 0"),
        ({"days": 1}, "no interval"), ({"percent": 100.0}, "between 0 and 100"),
    ],
)  # fmt: skip
def test_an_impossible_plan_is_refused(wrong: dict[str, Any], message: str, home: Settings) -> None:
    plan = {"percent": 50.0, "metric": "cost", "effect": 50.0, "days": 4, "as_of": START, **ME}
    with pytest.raises(UserError, match=message):
        experiment.start_experiment(home, "2", **{**plan, **wrong})


def test_the_rollout_commands_report_results_and_mistakes(home: Settings, made: Cases) -> None:
    def mlops(*command: str, code: int = 0) -> str:
        with patch.dict(os.environ, {"MLOPS_HOME": str(home.home)}):
            found = CliRunner().invoke(app, command)
        assert found.exit_code == code, found.output
        assert "Traceback" not in found.output
        return " ".join(found.output.split())

    assert "No challenger." in mlops("rollout", "--as-of", "2013-04-03")
    assert "No experiment is running" in mlops("experiment", "status", code=2)
    serve(home, made, 2)
    plan = ("--version", "2", "--effect", "60", "--days", "2", "--as-of", "2013-04-03")
    assert "cost or brier" in mlops("experiment", "start", *plan, "--metric", "joy", code=2)
    assert "answers 50 % of the keys for 2 days" in mlops("experiment", "start", *plan)
    serve(home, made, 3, skip=2)
    assert "too early: 0 of 2" in mlops("experiment", "status", "--as-of", "2013-04-04")
    stopped = mlops("experiment", "stop", "--as-of", "2013-04-04", "--reason", "no time")
    assert "The champion is alone. Verdict on version 2: too early" in stopped
    assert "(no time)" in audit_entries(home)[-1].why
