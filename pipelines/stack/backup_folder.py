"""What is in a backup of the stack, and is it whole?

A folder with a file for each database and volume, and `manifest.json`, which is written last and
tells the size and sha256 of each: a folder without it is no backup. The standard library only, here
and in all that `make backup` and `make restore` run: they work with the system's Python 3.
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
VOLUMES = {  # and where our image has them
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
CHUNK_SIZE = 1 << 20


class StackError(Exception):
    """What stopped a backup or a restore, told to the person who can act."""


def make_draft(target: Path) -> Path:
    """An empty folder beside `target`, to become it when it is whole.

    What a killed backup left there is removed. Raises `StackError` if `target` holds anything.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise StackError(f"{target} exists and is not an empty folder: name another, TO=<folder>.")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    return draft


def finish_backup(draft: Path, target: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest and gives the folder its name; all of it is on the disk then."""
    with (draft / MANIFEST).open("x") as file:
        json.dump({"format": BACKUP_FORMAT, **manifest}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    _sync(draft)
    draft.rename(target)
    _sync(target.parent)


def require_complete_file(path: Path) -> None:
    """Raises `StackError` unless the file begins and ends as its kind does."""
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
        raise StackError(f"{path.name} is not whole: its copying broke off. Try again.")


def read_verified_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the backup in `folder`. Raises `StackError` unless the files are its own."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        noted = {str(name): dict(each) for name, each in manifest["files"].items()}
        known = manifest["format"] == BACKUP_FORMAT
    except FileNotFoundError as error:
        raise StackError(f"{folder} is no backup: it has no {MANIFEST}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StackError(f"{folder / MANIFEST} can't be read ({error!r}): take another.") from error
    if not known or set(noted) != set(BACKUP_FILES) or "contents" not in manifest:
        raise StackError(
            f"{folder} is of a kind that this code doesn't know: use the code of its time."
        )
    for name in BACKUP_FILES:
        if not (folder / name).is_file():
            raise StackError(f"{folder} lacks {name}: it can't be restored. Take another backup.")
        if size_and_sha256(folder / name) != noted[name]:
            raise StackError(
                f"{folder / name} is not what was backed up: its size or sha256 differs from the "
                "manifest's. Nothing was changed. Take another backup."
            )
    return manifest


def size_and_sha256(path: Path) -> dict[str, Any]:
    """Its size and sha256, as the manifest has them."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK_SIZE):
            digest.update(piece)
            size += len(piece)
    return {"size": size, "sha256": digest.hexdigest()}


def summarise_contents(contents: Mapping[str, Any]) -> str:
    """What the loop has, in a line."""
    champion = contents["champion"]
    return (
        f"{contents['predictions']:,} predictions, {contents['versions']} versions of the model, "
        f"{f'champion {champion}' if champion else 'no champion'}, "
        f"{contents['online_keys']:,} keys online"
    )


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
