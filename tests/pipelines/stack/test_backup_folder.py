"""A backup is accepted only if all its files are present, whole and unchanged."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from pipelines.stack import backup_folder
from pipelines.stack.backup_folder import StackError

CONTENTS = {
    "predictions": 1234, "versions": 2, "champion": "2", "released": "2", "online_keys": 5,
}  # fmt: skip


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup in `one`; each file contains its own name."""
    target = tmp_path / "one"
    draft = backup_folder.make_draft(target)
    for name in backup_folder.BACKUP_FILES:
        (draft / name).write_text(name)
    files = {
        name: backup_folder.size_and_sha256(draft / name) for name in backup_folder.BACKUP_FILES
    }
    backup_folder.finish_backup(
        draft, target, {"made_at": "now", "contents": CONTENTS, "files": files}
    )
    return target


def test_a_whole_one_is_read_back(backup: Path, tmp_path: Path) -> None:
    assert backup_folder.read_verified_manifest(backup)["contents"] == CONTENTS
    assert list(tmp_path.iterdir()) == [backup]  # the draft is gone


@pytest.mark.parametrize("name", backup_folder.BACKUP_FILES)
def test_one_changed_byte_is_detected(backup: Path, name: str) -> None:
    content = bytearray((backup / name).read_bytes())
    content[-1] ^= 1
    (backup / name).write_bytes(content)
    with pytest.raises(StackError, match=f"{name} is not what was backed up"):
        backup_folder.read_verified_manifest(backup)


def test_a_missing_file_is_detected(backup: Path) -> None:
    (backup / "state.tar").unlink()
    with pytest.raises(StackError, match=r"lacks state\.tar"):
        backup_folder.read_verified_manifest(backup)


def test_without_a_manifest_it_is_no_backup(backup: Path) -> None:
    (backup / backup_folder.MANIFEST).unlink()
    with pytest.raises(StackError, match="no backup"):
        backup_folder.read_verified_manifest(backup)


@pytest.mark.parametrize("change", [
    {"format": backup_folder.BACKUP_FORMAT + 1}, {"files": {}},
    {"files": {"../elsewhere": {"size": 1}}},
])  # fmt: skip
def test_a_manifest_of_another_format_is_refused(backup: Path, change: dict[str, object]) -> None:
    manifest = json.loads((backup / backup_folder.MANIFEST).read_text())
    (backup / backup_folder.MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(StackError, match="unknown format"):
        backup_folder.read_verified_manifest(backup)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "files": [1]}'])
def test_an_invalid_manifest_is_refused(backup: Path, text: str) -> None:
    (backup / backup_folder.MANIFEST).write_text(text)
    with pytest.raises(StackError, match="can't be read"):
        backup_folder.read_verified_manifest(backup)


def test_a_folder_that_holds_something_is_never_written_to(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="not an empty folder"):
        backup_folder.make_draft(backup)
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="not an empty folder"):
        backup_folder.make_draft(tmp_path / "file")


def test_the_draft_of_a_killed_backup_is_replaced(tmp_path: Path) -> None:
    (backup_folder.make_draft(tmp_path / "one") / "state.tar").write_text("half")
    assert list(backup_folder.make_draft(tmp_path / "one").iterdir()) == []


def _tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("a")
        entry.size = 2000
        archive.addfile(entry, io.BytesIO(b"x" * 2000))
    return made.getvalue()


@pytest.mark.parametrize(("name", "whole"), [
    ("state.tar", _tar()), ("redis.rdb", b"REDIS0012" + b"\xff" + bytes(8)),
    ("mlflow.dump", b"PGDMP and so on"),
])  # fmt: skip
def test_an_interrupted_copy_is_detected(tmp_path: Path, name: str, whole: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(whole)
    backup_folder.require_complete_file(path)
    for piece in (b"", whole[:3], whole[:15], whole[:2000]):
        if piece == whole or piece.startswith(b"PGDMP"):
            continue  # pg_restore detects a missing end
        path.write_bytes(piece)
        with pytest.raises(StackError, match="not whole"):
            backup_folder.require_complete_file(path)


def test_its_contents_are_summarised() -> None:
    assert backup_folder.summarise_contents(CONTENTS) == (
        "1,234 predictions, 2 versions of the model, champion 2, 5 keys online"
    )
    assert "no champion" in backup_folder.summarise_contents({**CONTENTS, "champion": None})
