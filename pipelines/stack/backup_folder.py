"""The files of a backup of the stack, and their verification.

A backup is a folder with a file for each database and volume. `manifest.json` is written last and
holds the size and sha256 of each file; a folder without it is no backup. All code of `make backup`
and `make restore` uses the standard library only, so that the system's Python 3 can run it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BACKUP_FORMAT = 1
MANIFEST = "manifest.json"
DATABASES = ("mlflow", "prefect", "feast")
VOLUMES = {  # with their paths in our image
    "artefacts": "/artefacts",
    "state": "/state",
    "dvc-remote": "/dvc-remote",
    "predictions": "/predictions",
}
REDIS_FILE = "redis.rdb"
BACKUP_FILES = (
    *(f"{name}.dump" for name in DATABASES),
    REDIS_FILE,
    *(f"{name}.tar" for name in VOLUMES),
)


class StackError(Exception):
    """The reason why a backup or a restore stopped, and what to do."""


def make_draft(target: Path) -> Path:
    """Return an empty folder beside `target`, which `finish_backup` renames to `target`.

    Removes the draft of a killed backup. Raises `StackError` if `target` is not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StackError(f"{target} exists and is not an empty folder. Choose another: TO=...")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    return draft


def finish_backup(draft: Path, target: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest and rename the draft to `target`; sync both to the disk."""
    with (draft / MANIFEST).open("x") as file:
        json.dump({"format": BACKUP_FORMAT, **manifest}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    _sync(draft)
    draft.rename(target)
    _sync(target.parent)


def require_complete_file(path: Path) -> None:
    """Raise `StackError` unless the file has the start and the end of its format."""
    with path.open("rb") as file:
        head = file.read(5)
        file.seek(max(0, path.stat().st_size - 1024))
        tail = file.read()
    whole = {
        ".dump": head == b"PGDMP",
        ".rdb": head == b"REDIS" and tail[-9:-8] == b"\xff",
        ".tar": tail == bytes(1024),
    }
    if not whole[path.suffix]:
        raise StackError(f"{path.name} is not whole: its copy was interrupted. Try again.")


def read_verified_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the backup in `folder`; raise `StackError` if a file differs."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        listed = {name: dict(each) for name, each in manifest["files"].items()}
        known = manifest["format"] == BACKUP_FORMAT and "contents" in manifest
    except FileNotFoundError as error:
        raise StackError(f"{folder} is no backup: it has no {MANIFEST}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StackError(f"{folder / MANIFEST} can't be read ({error!r}).") from error
    if not known or set(listed) != set(BACKUP_FILES):
        raise StackError(f"{folder} has an unknown format: it needs the version that wrote it.")
    for name in BACKUP_FILES:
        if not (folder / name).is_file():
            raise StackError(f"{folder} lacks {name} and can't be restored. Choose another backup.")
        if size_and_sha256(folder / name) != listed[name]:
            raise StackError(
                f"{folder / name} is not what was backed up: its size or sha256 differs from the "
                "manifest. Nothing was changed. Choose another backup."
            )
    return manifest


def size_and_sha256(path: Path) -> dict[str, Any]:
    """Return the size and sha256 of a file, as in the manifest."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def summarise_contents(contents: Mapping[str, Any]) -> str:
    """Return a line about the contents of a backup."""
    champion = f"champion {contents['champion']}" if contents["champion"] else "no champion"
    return (
        f"{contents['predictions']:,} predictions, {contents['versions']} versions of the model, "
        f"{champion}, {contents['online_keys']:,} keys online"
    )


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
