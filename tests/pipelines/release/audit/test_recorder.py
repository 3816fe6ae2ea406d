"""Tests of recorded changes: each is made or not, despite kills, outages and concurrent writers."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from pipelines.registry import version_files
from pipelines.release import promotion, rollback
from pipelines.release.audit import entry_store, recorder
from pipelines.release.audit.release_document import served_models
from pipelines.release.audit.verification import repair_release_document, verify_release
from pipelines.training import mlflow_tracking
from serving.release.signatures import SignatureError
from settings import LoopError, Settings, UnreachableError, UserError
from tests.killed import CLIENT, FORK, STEPS, run_killed
from tests.released import audit_entries, served_release
from tests.use_case import USE_CASE

ME = {"by": "me", "why": "it is right"}
FAST_STEPS = {"after the entry", "after the document"}  # one per outcome; the rest is `long`


@pytest.mark.parametrize(
    "step", [pytest.param(s, marks=() if s in FAST_STEPS else pytest.mark.long) for s in STEPS]
)
def test_a_killed_change_is_made_or_not_and_the_next_call_completes_it(
    step: str, released: Settings
) -> None:
    is_made = STEPS[step][-1]
    assert run_killed(step, lambda: promotion.promote(released, "2", **ME)) == -signal.SIGKILL
    recorded = recorder.read_recorded_release(released)
    assert recorded.trail.problems == ()
    champion = served_release(released).champion.version
    assert recorded.document.champion is not None
    assert recorded.document.champion.version == ("2" if is_made else "1")
    # The release file is never ahead of the registry.
    assert champion in {"1", recorded.document.champion.version}

    promotion.promote(released, "2", **ME)
    assert served_release(released).champion.version == "2"
    assert [entry.version for entry in audit_entries(released)] == ["1", "2"]
    assert verify_release(released)[0] == []
    model = mlflow_tracking.mlflow_client(released).get_registered_model(USE_CASE.name)
    assert str(model.aliases["champion"]) == "2"
    attempts = recorder.read_recorded_release(released).trail.unfinished
    assert len(attempts) == (step in {"after the entry", "after its evidence"})


def test_of_two_concurrent_changes_one_is_superseded(released: Settings, tmp_path: Path) -> None:
    """Both have decided on the same generation before either writes."""
    together = FORK.Barrier(2)

    def controller(version: str) -> None:
        decided_on = recorder.read_recorded_release(released).document.generation
        together.wait(30)
        try:
            promotion.challenge(released, version, "shadow", generation=decided_on, **ME)
        except recorder.SupersededError as error:
            (tmp_path / f"superseded-{version}").write_text(str(error))
        else:
            (tmp_path / f"won-{version}").touch()

    both = [FORK.Process(target=controller, args=(version,)) for version in ("2", "3")]
    for process in both:
        process.start()
    for process in both:
        process.join(90)
    won, lost = sorted(tmp_path.glob("won-*")), sorted(tmp_path.glob("superseded-*"))
    assert (len(won), len(lost)) == (1, 1)
    assert "based on generation 1" in lost[0].read_text()
    challenger = served_release(released).challenger
    assert challenger is not None
    assert challenger.model.version == won[0].name[-1]
    assert served_release(released).generation == 2
    assert verify_release(released)[0] == []


def test_a_held_lock_raises_after_the_timeout_and_a_kill_frees_it(
    released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = FORK.Event()
    held = FORK.Event()

    def hold() -> None:
        with recorder.release_lock(released):
            held.set()
            go_on.wait(60)

    holder = FORK.Process(target=hold)
    holder.start()
    assert held.wait(30)
    with (
        pytest.raises(LoopError, match="is at work"),
        recorder.release_lock(released, patience=0.1),
    ):
        pass
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)  # the kernel releases the lock
    holder.join()
    with recorder.release_lock(released, patience=10):
        pass


def test_a_write_without_the_lock_is_detected(
    released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recorder.write_release_document
    before = released.release_file.read_bytes()

    def both(settings: Settings, client: Any, state: Any) -> None:
        real(settings, client, state)
        client.set_registered_model_tag(USE_CASE.name, "release", before.decode())

    monkeypatch.setattr(recorder, "write_release_document", both)
    with pytest.raises(recorder.SupersededError, match="without the lock"):
        promotion.promote(released, "2", **ME)
    assert released.release_file.read_bytes() == before


NONSENSE = ["", "{", "[]", "null", '{"champion": null}', '{"generation": 9}']


def test_a_malformed_document_is_refused_and_repaired_from_the_release_file(
    released: Settings,
) -> None:
    client = mlflow_tracking.mlflow_client(released)
    good = released.release_file.read_text()
    edits = [*NONSENSE, good.replace('"threshold": 0.2', '"threshold": 7'),
             good.replace('"frozen": false', '"frozen": true, "canary": 5')]  # fmt: skip
    for text in edits:
        client.set_registered_model_tag(USE_CASE.name, "release", text)
        with pytest.raises(LoopError, match="cannot be used"):
            promotion.promote(released, "2", **ME)
        with pytest.raises(LoopError, match="cannot be used"):
            rollback.freeze(released, **ME)
        assert released.release_file.read_text() == good
    repair_release_document(released, **ME)
    assert verify_release(released)[0] == []
    assert served_release(released).champion.version == "1"
    promotion.promote(released, "2", **ME)
    actions = [entry.action for entry in audit_entries(released)]
    assert actions == ["promote", "repair", "promote"]
    with pytest.raises(UserError, match="nothing to repair"):
        repair_release_document(released, **ME)


def test_a_lost_or_outdated_document_is_refused_and_repaired(released: Settings) -> None:
    client = mlflow_tracking.mlflow_client(released)
    old = client.get_registered_model(USE_CASE.name).tags["release"]
    promotion.promote(released, "2", **ME)
    served_now = released.release_file.read_bytes()

    client.delete_registered_model_tag(USE_CASE.name, "release")
    with pytest.raises(LoopError, match="lost its release document"):
        promotion.promote(released, "3", **ME)
    client.set_registered_model_tag(USE_CASE.name, "release", old)
    with pytest.raises(LoopError, match="set back"):
        promotion.promote(released, "3", **ME)
    assert "set back" in " ".join(verify_release(released)[0])
    assert released.release_file.read_bytes() == served_now

    repair_release_document(released, **ME)
    assert served_release(released).champion.version == "2"
    assert verify_release(released)[0] == []


@pytest.mark.parametrize("threshold", ["0.2", "0.9"])
def test_a_valid_edit_of_the_document_is_detected_and_not_served(
    threshold: str, released: Settings
) -> None:
    good = released.release_file.read_text()
    edited = good.replace('"threshold": 0.2', f'"threshold": {threshold}')
    if threshold == "0.2":
        edited = edited.replace('"version": "1"', '"version": "3"')
    mlflow_tracking.mlflow_client(released).set_registered_model_tag(
        USE_CASE.name, "release", edited
    )
    assert "was changed after it was signed" in " ".join(verify_release(released)[0])
    with pytest.raises(SignatureError, match="was changed after it was signed"):
        promotion.promote(released, "2", **ME)
    assert released.release_file.read_text() == good
    repair_release_document(released, **ME)
    assert verify_release(released)[0] == []
    assert (
        served_release(released).champion.version,
        served_release(released).champion.threshold,
    ) == ("1", 0.2)


def test_the_next_change_rewrites_a_malformed_release_file(released: Settings) -> None:
    released.release_file.write_text("{")
    rollback.unfreeze(released, **ME)  # changes nothing in the document
    assert served_release(released).champion.version == "1"


def test_changes_of_entries_in_the_database_are_detected(released: Settings) -> None:
    promotion.promote(released, "2", evidence={"cost": 1}, **ME)
    rollback.rollback(released, **ME)
    client = mlflow_tracking.mlflow_client(released)
    runs = {e.tags["seq"]: e.run_id for e in entry_store.read_entries(released, client)}
    assert verify_release(released)[0] == []

    client.set_tag(runs["2"], "why", "because")
    assert "Entry 2 was changed" in verify_release(released)[0][0]
    client.set_tag(runs["2"], "why", ME["why"])
    client.log_text(runs["2"], '{"cost": 0}', "evidence.json")
    assert "its evidence" in verify_release(released)[0][0]
    client.log_text(runs["2"], '{\n "cost": 1\n}', "evidence.json")
    assert verify_release(released)[0] == []

    client.delete_run(runs["2"])
    assert "Entry 2 was deleted" in verify_release(released)[0][0]
    with sqlite3.connect(released.var / "mlflow" / "mlflow.db") as database:
        database.execute("DELETE FROM tags WHERE run_uuid = ?", (runs["3"],))
    assert "Entry 3 " in verify_release(released)[0][0]
    assert "missing" in verify_release(released)[0][0]


@pytest.mark.parametrize("step", ["create_run", "set_registered_model_tag", "set_terminated"])
def test_an_outage_of_mlflow_during_a_change_keeps_serving_unaffected(
    step: str, released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise MlflowException("API request to endpoint failed: connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(CLIENT, step, away)
        with pytest.raises(UnreachableError, match="connection refused"):
            promotion.promote(released, "2", **ME)
        assert served_release(released).champion.version == (
            "2" if step == "set_terminated" else "1"
        )
    promotion.promote(released, "2", **ME)
    assert served_release(released).champion.version == "2"
    assert verify_release(released)[0] == []


def test_an_unavailable_mlflow_is_reported_within_seconds(
    released: Settings, monkeypatch: pytest.MonkeyPatch, a_free_port: Callable[[], int]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = released.release_file.read_bytes()
    uri = f"http://user:secret@127.0.0.1:{a_free_port()}"
    away = Settings(home=released.home, tracking_uri=uri)
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="Serving is unaffected") as raised:
        rollback.rollback(away, "1", **ME)
    assert time.monotonic() - began < 20
    assert "secret" not in str(raised.value)
    assert released.release_file.read_bytes() == before


def test_a_lost_or_malformed_release_file_is_repaired_from_the_registry(released: Settings) -> None:
    promotion.challenge(released, "2", "canary", 10, **ME)
    good = served_release(released)
    for damage in (released.release_file.unlink, lambda: released.release_file.write_text("{")):
        damage()
        assert repair_release_document(released, **ME) == good
        assert served_release(released) == good
    assert len(audit_entries(released)) == 2


def test_document_and_file_are_repaired_from_the_record(released: Settings) -> None:
    promotion.challenge(released, "2", "canary", 10, **ME)
    before = served_release(released)
    assert before.challenger is not None
    client = mlflow_tracking.mlflow_client(released)
    client.set_registered_model_tag(USE_CASE.name, "release", "{")
    released.release_file.write_text("{")
    repair_release_document(released, **ME)
    after = served_release(released)
    assert after.challenger is not None
    assert (after.champion, after.challenger.model) == (before.champion, before.challenger.model)
    assert after.generation == before.generation + 1
    assert verify_release(released)[0] == []

    client.set_registered_model_tag(USE_CASE.name, "release", "{")
    released.release_file.write_text("{")
    newest = entry_store.read_entries(released, client)[0]
    client.set_tag(newest.run_id, "entry", "{}")
    with pytest.raises(LoopError, match="so is the record: Entry 3 was changed"):
        repair_release_document(released, **ME)


@pytest.mark.parametrize("lost", ["served/model.treelite", "card.json", "reference.parquet", ""])
def test_damaged_files_of_served_versions_are_downloaded_again(
    lost: str, released: Settings
) -> None:
    promotion.challenge(released, "2", "shadow", **ME)
    good = served_release(released)
    for version in ("1", "2"):
        folder = released.state / "models" / version
        if lost:
            (folder / lost).write_bytes(b"")
        else:
            shutil.rmtree(folder)
        if lost == "reference.parquet":
            (folder / lost).unlink()
    assert repair_release_document(released, **ME) == good
    for each in served_models(good):
        folder = released.state / "models" / each.version
        assert version_files.are_files_whole(released, folder, each.digest)
