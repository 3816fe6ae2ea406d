"""Tests of promotion, challenge and withdrawal: what they change and what they refuse."""

import json
import os
from collections.abc import Callable
from unittest.mock import patch

import pytest

from pipelines.registry import download
from pipelines.release import approvals, promotion, rollback
from pipelines.release.audit import recorder
from pipelines.release.audit.approval_rules import RefusedError
from pipelines.release.audit.verification import verify_release
from pipelines.training import mlflow_tracking, training_outcome
from serving.models.evaluator import Evaluator
from serving.release.document import Release, write_release
from settings import LoopError, Settings, UserError
from tests.released import audit_entries, release_aliases, served_release
from tests.use_case import USE_CASE

ME = {"by": "me", "why": "it is right"}


def test_every_move_from_shadow_to_champion_and_back_is_an_entry(released: Settings) -> None:
    promotion.challenge(released, "2", "shadow", **ME)
    assert served_release(released).challenger is not None
    assert release_aliases(released) == {"champion": "1", "challenger": "2"}
    promotion.challenge(released, "2", "canary", 10, evidence={"n": 3}, **ME)
    challenger = served_release(released).challenger
    assert challenger is not None
    assert (challenger.stage, challenger.percent) == ("canary", 10)
    done = promotion.promote(released, "2", **ME)
    assert (done["before"], done["version"], done["generation"]) == ("1", "2", 4)
    assert (served_release(released).champion.version, served_release(released).challenger) == (
        "2",
        None,
    )
    assert release_aliases(released) == {"champion": "2"}
    assert rollback.rollback(released, **ME)["version"] == "1"
    assert release_aliases(released) == {"champion": "1"}

    assert [e.action for e in audit_entries(released)] == [
        "promote", "challenge", "challenge", "promote", "rollback",
    ]  # fmt: skip
    assert recorder.read_recorded_release(released).document == served_release(released)
    assert verify_release(released)[0] == []
    barred = (
        mlflow_tracking.mlflow_client(released).get_model_version(USE_CASE.name, "2").tags["barred"]
    )
    assert "it is right" in barred


def test_a_repeated_move_changes_nothing(released: Settings) -> None:
    promotion.promote(released, "1", **ME)
    rollback.unfreeze(released, **ME)
    promotion.withdraw(released, **ME)
    promotion.challenge(released, "2", "canary", 10, **ME)
    generation = served_release(released).generation
    promotion.challenge(released, "2", "canary", 10, **ME)
    rollback.freeze(released, **ME)
    rollback.freeze(released, **ME)
    assert served_release(released).generation == generation + 1 == len(audit_entries(released))


def test_a_withdrawn_version_returns_only_with_again(released: Settings) -> None:
    promotion.challenge(released, "2", "canary", 5, **ME)
    promotion.withdraw(released, by="controller", why="errors")
    for move in (
        lambda: promotion.promote(released, "2", **ME),
        lambda: promotion.challenge(released, "2", "shadow", **ME),
    ):
        with pytest.raises(RefusedError, match=r"controller took it back .*errors.*--again"):
            move()
    assert served_release(released).champion.version == "1"
    promotion.promote(released, "2", again=True, **ME)
    assert served_release(released).champion.version == "2"
    assert (
        "no more"
        in mlflow_tracking.mlflow_client(released)
        .get_model_version(USE_CASE.name, "2")
        .tags["barred"]
    )
    rollback.rollback(released, **ME)
    with pytest.raises(RefusedError, match="took it back"):
        promotion.promote(released, "2", **ME)
    rollback.rollback(released, "2", **ME)  # a named version overrides the bar


def test_an_ended_experiment_bars_no_version(released: Settings) -> None:
    promotion.challenge(released, "2", "experiment", 50, name="trial", **ME)
    promotion.withdraw(released, bar=False, **ME)
    assert promotion.promote(released, "2", **ME)["version"] == "2"


def test_changed_model_files_are_downloaded_again_or_refused(released: Settings) -> None:
    promotion.challenge(released, "2", "shadow", **ME)
    promotion.withdraw(released, bar=False, **ME)
    model = released.state / "models" / "2" / "served" / "model.treelite"
    good = model.read_bytes()
    model.write_bytes(b"x")
    promotion.challenge(released, "2", "shadow", **ME)
    assert model.read_bytes() == good
    for copy in (released.var / "mlflow").rglob("served/model.treelite"):
        copy.write_bytes(b"x")
    model.write_bytes(b"x")
    with pytest.raises(LoopError, match="not those that were registered"):
        promotion.promote(released, "2", **ME)
    assert served_release(released).champion.version == "1"


MISTAKES: list[tuple[Callable[[Settings], object], str]] = [
    (lambda s: promotion.promote(s, "99", **ME), "no version 99"),
    (lambda s: promotion.promote(s, "x", **ME), "no version x"),
    (lambda s: promotion.promote(s, "2", by="me", why=" "), "needs a name"),
    (lambda s: promotion.promote(s, "2", by="", why="x"), "needs a name"),
    (lambda s: promotion.promote(s, "2", by="me", why="x" * 1001), "needs a name"),
    (lambda s: promotion.challenge(s, "1", "shadow", **ME), "can't challenge itself"),
    (lambda s: promotion.challenge(s, "2", "canary", 0, **ME), "can't be this challenger"),
    (lambda s: promotion.challenge(s, "2", "canary", 101, **ME), "can't be this challenger"),
    (lambda s: promotion.challenge(s, "2", "shadow", 5, **ME), "can't be this challenger"),
    (lambda s: approvals.approve(s, "2", days=0, **ME), "more than 0 days"),
    (lambda s: approvals.approve(s, "99", **ME), "no version 99"),
    (lambda s: rollback.rollback(s, "3", **ME), "never champion"),
    (lambda s: rollback.rollback(s, "99", **ME), "never champion"),
]


def test_a_users_mistake_changes_nothing(released: Settings) -> None:
    before = released.release_file.read_bytes()
    for wrong, message in MISTAKES:
        with pytest.raises(UserError, match=message):
            wrong(released)
    assert released.release_file.read_bytes() == before
    assert len(audit_entries(released)) == 1


def test_a_second_challenger_and_one_without_a_champion_are_refused(released: Settings) -> None:
    promotion.challenge(released, "2", "shadow", **ME)
    with pytest.raises(UserError, match="Version 2 is the challenger"):
        promotion.challenge(released, "3", "shadow", **ME)
    client = mlflow_tracking.mlflow_client(released)
    client.delete_registered_model_tag(USE_CASE.name, "release")
    released.release_file.unlink()
    with pytest.raises(UserError, match="no champion to challenge"):
        promotion.challenge(released, "3", "shadow", **ME)


def test_a_release_without_audit_trail_is_adopted(released: Settings) -> None:
    mlflow_tracking.mlflow_client(released).delete_registered_model_tag(USE_CASE.name, "release")
    now = served_release(released)
    write_release(released, Release(7, now.champion, now.changed_at))
    promotion.promote(released, "2", **ME)
    assert served_release(released).generation == 8
    last = audit_entries(released)[-1]
    assert (last.seq, last.before["champion"]["version"]) == (1, "1")
    assert json.loads(json.dumps(last.after))["champion"]["version"] == "2"


def test_a_refused_rollout_does_not_fail_the_training(released: Settings) -> None:
    from pipelines.flows import tasks

    rollback.freeze(released, why="it is Friday", by="ada")
    with patch.dict(os.environ, {"MLOPS_HOME": str(released.home)}):
        rollout = tasks.start_rollout.fn("2", "passed every gate")
    assert "it is Friday" in rollout["refused"]
    outcome = training_outcome.describe_outcome(
        {**rollout, "version": "2", "why": "passed", "before": None}
    )
    assert outcome.startswith("Version 2 registered, the champion stays: ")
    assert served_release(released).champion.version == "1"


def test_the_files_of_an_older_version_of_the_same_number_are_not_overwritten(
    released: Settings,
) -> None:
    other = download.download_version(released, "3")
    folder = released.state / "models" / "2"
    (released.state / "models" / "3").rename(folder)
    with pytest.raises(LoopError, match="holds a model of the same number") as raised:
        promotion.promote(released, "2", **ME)
    assert raised.value.code == "model_folder_taken"
    Evaluator.load(folder / "served", other.digest)
