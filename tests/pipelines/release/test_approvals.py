"""Tests of approvals, rejections and overrides, and of the policy that requires them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.cli.release_history import approval_lines
from pipelines.registry import version_files
from pipelines.registry.download import download_version
from pipelines.release import approvals, promotion, rollback
from pipelines.release.audit import approval_rules
from pipelines.release.audit.approval_rules import RefusedError
from pipelines.training import mlflow_tracking
from settings import Settings, UserError
from tests.released import audit_entries, served_release
from tests.use_case import USE_CASE, change_params

ME = {"by": "me", "why": "it is right"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def set_manual_policy(settings: Settings) -> None:
    change_params(settings, "release", policy="manual")


def test_the_manual_policy_requires_an_active_approval(released: Settings) -> None:
    set_manual_policy(released)
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
    assert [e.action for e in audit_entries(released)].count("approve") == 3


def test_an_approval_applies_to_one_digest(released: Settings) -> None:
    set_manual_policy(released)
    with pytest.raises(UserError, match="you looked at"):
        approvals.approve(released, "2", digest="f" * 64, **ME)
    approvals.approve(released, "2", at=NOW, **ME)
    # Another model under the same version number, with a matching digest tag.
    client = mlflow_tracking.mlflow_client(released)
    third = client.get_model_version(USE_CASE.name, "3")
    client.set_model_version_tag(USE_CASE.name, "2", "digest", third.tags["digest"])
    download_version(released, "3")
    version_files.write_card(
        (released.state / "models" / "3").rename(released.state / "models" / "2")
    )
    with pytest.raises(RefusedError, match="with the digest"):
        promotion.promote(released, "2", at=NOW, **ME)
    assert served_release(released).champion.version == "1"


def test_a_rejection_ends_an_approval(released: Settings) -> None:
    set_manual_policy(released)
    approvals.approve(released, "2", at=NOW, **ME)
    approvals.reject(released, "2", by="boss", why="second thoughts", at=NOW)
    with pytest.raises(RefusedError, match="rejected by boss: second thoughts"):
        promotion.promote(released, "2", at=NOW, **ME)


def test_an_unknown_release_policy_is_refused(released: Settings) -> None:
    change_params(released, "release", policy="automatic")
    with pytest.raises(UserError, match="must be auto or manual"):
        promotion.promote(released, "2", **ME)


def test_an_override_expires_and_is_shown(released: Settings) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    approvals.override(released, "1", gate="cost", until=until, by="boss", why="a holiday")
    entries, digest = audit_entries(released), served_release(released).champion.digest
    before = until - timedelta(hours=1)
    assert set(approval_rules.active_overrides(entries, "1", digest, before)) == {"cost"}
    assert not approval_rules.active_overrides(entries, "1", digest, until)
    assert not approval_rules.active_overrides(entries, "1", "f" * 64, before)
    assert not approval_rules.active_overrides(entries, "2", digest, before)
    assert any("OVERRIDE" in line and "a holiday" in line for line in approval_lines(released))
    tags = mlflow_tracking.mlflow_client(released).get_model_version(USE_CASE.name, "1").tags
    assert "a holiday" in tags["override cost"]
    with pytest.raises(UserError, match="must end in the future"):
        approvals.override(released, "1", gate="cost", until=until, at=until, **ME)


def test_an_override_replaces_the_approval_until_it_expires(released: Settings) -> None:
    set_manual_policy(released)
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


def test_approval_and_freeze_work_before_the_first_champion(released: Settings) -> None:
    mlflow_tracking.mlflow_client(released).delete_registered_model_tag(USE_CASE.name, "release")
    released.release_file.unlink()
    set_manual_policy(released)
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
