"""Atomic files and files of lines: state that a kill or a full disk does not break.

Every file that another step relies on is written here. A file of lines is valid up to its last
newline: an incomplete last write counts as not made.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from features import locks

UNFINISHED = ".tmp"  # the suffix of temporary names; .dvcignore leaves them out
_number = itertools.count()


def sync(path: Path) -> None:
    """Sync a file's content, or a folder's entries: a created or renamed file is one of these."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_replace(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path; what the block writes there replaces `target`, whole or not at all.

    The content is on the disk before the name is. If the block raises, `target` stays as it was.
    `mode` is limited by the umask, as in `open`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # The process and a number: two writers of one target never share a temporary file.
    unique = f"{os.getpid()}-{next(_number)}"
    unfinished = target.with_name(f".{target.name}.{unique}{UNFINISHED}")
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode))
        yield unfinished
        sync(unfinished)
        unfinished.replace(target)
        sync(target.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def write_file(target: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Replace `target` by `content` (text as UTF-8), whole or not at all."""
    with atomic_replace(target, mode) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(target: Path, value: Any, **options: Any) -> None:
    """Replace `target` by `value` as JSON, whole or not at all; `options` are those of `dumps`."""
    write_file(target, json.dumps(value, **({"indent": 2} | options)))


def read_json(target: Path) -> Any | None:
    """The JSON value in `target`; None if there is no file, or it was cut short."""
    try:
        return json.loads(target.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that killed writers left below `folder`; none may be alive."""
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name.startswith(".") and name.endswith(UNFINISHED):
                Path(parent, name).unlink(missing_ok=True)


def publish_folder(draft: Path, target: Path) -> None:
    """Give the complete folder `draft` the name `target`, which must not exist, durably."""
    for path in (draft, *draft.rglob("*")):
        sync(path)
    draft.rename(target)
    sync(target.parent)


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Give `source`, which no one ever writes to again, the second name `target`.

    By a hard link; by a copy where none is possible: on another disk, or in a file system without
    links. Raises `FileExistsError` if there is a `target`.
    """
    try:
        os.link(os.path.realpath(source), target)  # of a link, what it leads to
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def complete_lines(content: bytes) -> list[bytes]:
    """The complete lines of `content`, without their newlines."""
    return content[: content.rfind(b"\n") + 1].splitlines()


def read_lines(target: Path) -> list[bytes]:
    """The complete lines of a file; none if there is no file."""
    try:
        return complete_lines(target.read_bytes())
    except FileNotFoundError:
        return []


def append_unless(target: Path, line: str, known: Callable[[list[bytes]], bool]) -> bool:
    """Append `line` and sync it, unless `known` is true of the lines that are there.

    One process at a time, by a lock beside the file. Returns whether the line was appended. An
    incomplete last line is cut off: it was never acknowledged.
    """
    with locks.hold_lock(target.with_name(f"{target.name}.lock")):
        new = not target.exists()
        with target.open("ab+") as file:
            file.seek(0)
            content = file.read()
            lines = complete_lines(content)
            if known(lines):
                return False
            file.truncate(content.rfind(b"\n") + 1)
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync(target.parent)
    return True
