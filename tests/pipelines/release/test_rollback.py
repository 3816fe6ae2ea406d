"""Tests of rollback and freeze."""

import shutil
import time

import pytest

from pipelines.release import promotion, rollback
from pipelines.release.audit.approval_rules import RefusedError
from pipelines.training import mlflow_tracking
from serving.models.holder import ModelHolder
from settings import LoopError, Settings, UserError
from tests.released import audit_entries, release_aliases, served_release

ME = {"by": "me", "why": "it is right"}


def test_a_rollback_is_served_within_two_seconds(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    holder = ModelHolder(released)
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
    shutil.rmtree(released.state / "models" / "1", ignore_errors=True)

    def gone(*_: object) -> None:
        raise OSError("no such artefact")

    monkeypatch.setattr(type(mlflow_tracking.mlflow_client(released)), "download_artifacts", gone)
    with pytest.raises(LoopError, match="files can't be downloaded"):
        rollback.rollback(released, "1", **ME)
    assert released.release_file.read_bytes() == before
    assert len(audit_entries(released)) == 2
    assert release_aliases(released) == {"champion": "2"}


def test_a_freeze_refuses_releases_until_it_is_lifted(released: Settings) -> None:
    promotion.challenge(released, "2", "canary", 10, **ME)
    rollback.freeze(released, by="someone", why="an incident")
    assert served_release(released).frozen
    assert served_release(released).challenger is None
    assert release_aliases(released) == {"champion": "1"}
    for move in (
        lambda: promotion.promote(released, "2", **ME),
        lambda: promotion.challenge(released, "3", "shadow", **ME),
    ):
        with pytest.raises(RefusedError, match=r"frozen by someone \(an incident\)"):
            move()
    rollback.unfreeze(released, **ME)
    assert promotion.promote(released, "2", **ME)["version"] == "2"
