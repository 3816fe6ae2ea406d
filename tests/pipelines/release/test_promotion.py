"""Tests of promotion, rollback, freeze and approvals: what they change and what they refuse."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest

from pipelines.cli.release_history import approval_lines, verify_record
from pipelines.registry.versions import REGISTERED_MODEL
from pipelines.release import approvals, promotion, rollback
from pipelines.release.audit import approval_rules, recorder
from pipelines.release.audit.approval_rules import RefusedError
from pipelines.release.audit.trail import AuditEntry
from pipelines.training import mlflow_tracking, training_outcome
from serving.models.holder import ModelHolder
from serving.release.document import Release, write_release
from settings import LoopError, Settings, UserError
from tests.released import served_release

ME = {"by": "me", "why": "it is right"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def manual(settings: Settings) -> None:
    text = settings.params_file.read_text()
    settings.params_file.write_text(text.replace("policy: auto", "policy: manual"))


def aliases(settings: Settings) -> dict[str, str]:
    found = mlflow_tracking.mlflow_client(settings).get_registered_model(REGISTERED_MODEL).aliases
    return {alias: str(version) for alias, version in found.items()}


def entries(settings: Settings) -> tuple[AuditEntry, ...]:
    return recorder.read_recorded_release(settings).trail.entries


def test_every_move_from_shadow_to_champion_and_back_is_an_entry(released: Settings) -> None:
    promotion.challenge(released, "2", "shadow", **ME)
    assert served_release(released).challenger is not None
    assert aliases(released) == {"champion": "1", "challenger": "2"}
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
    assert aliases(released) == {"champion": "2"}
    assert rollback.rollback(released, **ME)["version"] == "1"
    assert aliases(released) == {"champion": "1"}

    assert [e.action for e in entries(released)] == [
        "promote", "challenge", "challenge", "promote", "rollback",
    ]  # fmt: skip
    assert recorder.read_recorded_release(released).document == served_release(released)
    assert verify_record(released)[0] == []
    barred = (
        mlflow_tracking.mlflow_client(released)
        .get_model_version(REGISTERED_MODEL, "2")
        .tags["barred"]
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
    assert served_release(released).generation == generation + 1 == len(entries(released))


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
        .get_model_version(REGISTERED_MODEL, "2")
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


def test_a_rollback_is_served_within_two_seconds(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    holder = ModelHolder(released.release_file)
    holder.start()  # polls as often as the service does
    try:
        rollback.rollback(released, **ME)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            assert holder.current is not None
            if holder.current.release.champion.version == "1":
                break
            time.sleep(0.02)
        else:
            raise AssertionError("version 1 is not served")
    finally:
        holder.stop()


def test_a_rollback_skips_champions_that_were_rolled_back(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    promotion.promote(released, "3", **ME)
    assert rollback.rollback(released, **ME)["version"] == "2"
    assert rollback.rollback(released, **ME)["version"] == "1"  # not to 3, which was rolled back
    with pytest.raises(UserError, match="no champion before"):
        rollback.rollback(released, **ME)
    assert rollback.rollback(released, "1", **ME)["before"] == "1"


def test_a_rollback_to_a_version_without_files_is_refused(
    released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotion.promote(released, "2", **ME)
    before = released.release_file.read_bytes()
    shutil.rmtree(released.var / "models" / "1", ignore_errors=True)

    def gone(*_: object) -> None:
        raise OSError("no such artefact")

    monkeypatch.setattr(type(mlflow_tracking.mlflow_client(released)), "download_artifacts", gone)
    with pytest.raises(LoopError, match="files can't be downloaded"):
        rollback.rollback(released, "1", **ME)
    assert released.release_file.read_bytes() == before
    assert len(entries(released)) == 2
    assert aliases(released) == {"champion": "2"}


def test_changed_model_files_are_refused(released: Settings) -> None:
    promotion.challenge(released, "2", "shadow", **ME)
    promotion.withdraw(released, bar=False, **ME)
    model = released.var / "models" / "2" / "served" / "model.treelite"
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(LoopError, match="not those that were registered"):
        promotion.promote(released, "2", **ME)
    assert served_release(released).champion.version == "1"


def test_a_freeze_refuses_releases_until_it_is_lifted(released: Settings) -> None:
    promotion.challenge(released, "2", "canary", 10, **ME)
    rollback.freeze(released, by="someone", why="an incident")
    assert served_release(released).frozen
    assert served_release(released).challenger is None
    assert aliases(released) == {"champion": "1"}
    for move in (
        lambda: promotion.promote(released, "2", **ME),
        lambda: promotion.challenge(released, "3", "shadow", **ME),
    ):
        with pytest.raises(RefusedError, match=r"frozen by someone \(an incident\)"):
            move()
    rollback.unfreeze(released, **ME)
    assert promotion.promote(released, "2", **ME)["version"] == "2"


def test_the_manual_policy_requires_an_active_approval(released: Settings) -> None:
    manual(released)
    promotion.challenge(released, "2", "shadow", **ME)  # answers no request, so needs no approval
    moves: list[Callable[[], object]] = [
        lambda: promotion.promote(released, "2", at=NOW, **ME),
        lambda: promotion.challenge(released, "2", "canary", 5, at=NOW, **ME),
        lambda: promotion.challenge(released, "2", "experiment", 5, name="x", at=NOW, **ME),
    ]

    def refused(why: str) -> None:
        for move in moves:
            with pytest.raises(RefusedError, match=why):
                move()
        assert served_release(released).champion.version == "1"

    refused("version 2 was not approved")
    approvals.approve(released, "3", by="boss", why="another version", at=NOW)
    refused("version 2 was not approved")
    approvals.approve(released, "2", by="boss", why="fine", days=2, at=NOW - timedelta(days=3))
    refused("expired on 2025-12-31")
    approvals.approve(released, "2", by="boss", why="fine", at=NOW)
    approvals.reject(released, "3", by="boss", why="no")
    moves[1]()
    with pytest.raises(UserError, match="is being served"):
        approvals.reject(released, "2", by="boss", why="no")
    moves[0]()
    assert served_release(released).champion.version == "2"
    rollback.rollback(released, **ME)  # needs no approval
    assert [e.action for e in entries(released)].count("approve") == 3


def test_an_approval_applies_to_one_digest(released: Settings) -> None:
    manual(released)
    with pytest.raises(UserError, match="you looked at"):
        approvals.approve(released, "2", digest="f" * 64, **ME)
    approvals.approve(released, "2", at=NOW, **ME)
    # Another model under the same version number, with a matching digest tag.
    client = mlflow_tracking.mlflow_client(released)
    third = client.get_model_version(REGISTERED_MODEL, "3")
    client.set_model_version_tag(REGISTERED_MODEL, "2", "digest", third.tags["digest"])
    promotion.download_version(released, "3")
    (released.var / "models" / "3").rename(released.var / "models" / "2")
    with pytest.raises(RefusedError, match="with the digest"):
        promotion.promote(released, "2", at=NOW, **ME)
    assert served_release(released).champion.version == "1"


def test_a_rejection_ends_an_approval(released: Settings) -> None:
    manual(released)
    approvals.approve(released, "2", at=NOW, **ME)
    approvals.reject(released, "2", by="boss", why="second thoughts", at=NOW)
    with pytest.raises(RefusedError, match="rejected by boss: second thoughts"):
        promotion.promote(released, "2", at=NOW, **ME)


def test_an_unknown_release_policy_is_refused(released: Settings) -> None:
    text = released.params_file.read_text()
    released.params_file.write_text(text.replace("policy: auto", "policy: automatic"))
    with pytest.raises(UserError, match="must be auto or manual"):
        promotion.promote(released, "2", **ME)


def test_an_override_expires_and_is_shown(released: Settings) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    approvals.override(released, "1", gate="cost", until=until, by="boss", why="a holiday")
    known, digest = entries(released), served_release(released).champion.digest
    assert set(approval_rules.active_overrides(known, "1", digest, until - timedelta(hours=1))) == {
        "cost"
    }
    assert not approval_rules.active_overrides(known, "1", digest, until)
    assert not approval_rules.active_overrides(known, "1", "f" * 64, until - timedelta(hours=1))
    assert not approval_rules.active_overrides(known, "2", digest, until - timedelta(hours=1))
    assert any("OVERRIDE" in line and "a holiday" in line for line in approval_lines(released))
    tags = mlflow_tracking.mlflow_client(released).get_model_version(REGISTERED_MODEL, "1").tags
    assert "a holiday" in tags["override cost"]
    with pytest.raises(UserError, match="must end in the future"):
        approvals.override(released, "1", gate="cost", until=until, at=until, **ME)


def test_an_override_replaces_the_approval_until_it_expires(
    released: Settings,
) -> None:
    manual(released)
    with pytest.raises(RefusedError, match="was not approved"):
        promotion.promote(released, "2", **ME)
    until = datetime.now(UTC) + timedelta(days=1)
    approvals.override(released, "2", gate="approval", until=until, by="boss", why="an incident")
    with pytest.raises(RefusedError, match="was not approved"):
        promotion.promote(released, "2", at=until, **ME)
    with pytest.raises(RefusedError, match="was not approved"):
        promotion.promote(released, "3", **ME)
    promotion.promote(released, "2", **ME)
    assert served_release(released).champion.version == "2"


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
    assert len(entries(released)) == 1


def test_a_second_challenger_and_one_without_a_champion_are_refused(
    released: Settings,
) -> None:
    promotion.challenge(released, "2", "shadow", **ME)
    with pytest.raises(UserError, match="Version 2 is the challenger"):
        promotion.challenge(released, "3", "shadow", **ME)
    client = mlflow_tracking.mlflow_client(released)
    client.delete_registered_model_tag(REGISTERED_MODEL, "release")
    released.release_file.unlink()
    with pytest.raises(UserError, match="no champion to challenge"):
        promotion.challenge(released, "3", "shadow", **ME)


def test_approval_and_freeze_work_before_the_first_champion(
    released: Settings,
) -> None:
    mlflow_tracking.mlflow_client(released).delete_registered_model_tag(REGISTERED_MODEL, "release")
    released.release_file.unlink()
    manual(released)
    approvals.approve(released, "2", **ME)
    rollback.freeze(released, **ME)
    assert not released.release_file.exists()
    with pytest.raises(RefusedError, match="frozen"):
        promotion.promote(released, "2", **ME)
    rollback.unfreeze(released, **ME)
    promotion.promote(released, "2", **ME)
    assert (served_release(released).champion.version, served_release(released).generation) == (
        "2",
        4,
    )


def test_a_release_without_audit_trail_is_adopted(released: Settings) -> None:
    mlflow_tracking.mlflow_client(released).delete_registered_model_tag(REGISTERED_MODEL, "release")
    now = served_release(released)
    write_release(released.release_file, Release(7, now.champion, now.changed_at))
    promotion.promote(released, "2", **ME)
    assert served_release(released).generation == 8
    last = entries(released)[-1]
    assert (last.seq, last.before["champion"]["version"]) == (1, "1")
    assert json.loads(json.dumps(last.after))["champion"]["version"] == "2"


def test_a_refused_rollout_does_not_fail_the_training(
    released: Settings,
) -> None:
    from pipelines.flows import tasks

    rollback.freeze(released, why="it is Friday", by="ada")
    with patch.dict(os.environ, {"MLOPS_HOME": str(released.home)}):
        found = tasks.enter_rollout.fn("2", "passed every gate")
    assert "it is Friday" in found["refused"]
    outcome = training_outcome.describe_outcome(
        {**found, "version": "2", "why": "passed", "before": None}
    )
    assert outcome.startswith("Version 2 registered, the champion stays: ")
    assert served_release(released).champion.version == "1"
