"""Atomic writes of files and lines, which survive a kill or a full disk.

Every file that another step relies on is written by this module. A file of lines is valid up to
its last newline: readers ignore an incomplete last write.
"""

import errno
import itertools
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from filelock import FileLock

from settings import LoopError

UNFINISHED = ".tmp"  # the suffix of temporary names; .dvcignore lists it
_number = itertools.count()


def sync(path: Path) -> None:
    """Sync a file's content, or a folder's entries, such as a created or renamed file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_replace(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path; the file written there replaces `target` atomically.

    The content reaches the disk before the name does. If the block raises, `target` is unchanged.
    The umask limits `mode`, as in `open`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # The process id and a counter: two writers of one target never share a temporary file.
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
    """Replace `target` by `content` (text as UTF-8) atomically."""
    with atomic_replace(target, mode) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(target: Path, value: Any, **options: Any) -> None:
    """Replace `target` by `value` as JSON atomically; `options` are those of `json.dumps`."""
    write_file(target, json.dumps(value, **({"indent": 2} | options)))


def read_json(target: Path) -> Any | None:
    """Return the JSON value in `target`; None if the file is missing or truncated."""
    try:
        return json.loads(target.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def require_json(target: Path) -> Any:
    """Return the JSON value in `target`. Raise `LoopError` if the file can't be read as JSON."""
    try:
        return json.loads(target.read_bytes())
    except (OSError, ValueError) as error:
        raise LoopError(
            f"{target} is damaged ({error}): it was copied or edited by halves. Remove it: "
            f"`rm {target}`. What it held is made again when it is due.", code="file_damaged",
        ) from error  # fmt: skip


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of killed writers below `folder`; no writer may be running."""
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name.startswith(".") and name.endswith(UNFINISHED):
                Path(parent, name).unlink(missing_ok=True)


def publish_folder(draft: Path, target: Path) -> None:
    """Rename the complete folder `draft` to `target`, which must not exist, and sync both."""
    for path in (draft, *draft.rglob("*")):
        sync(path)
    draft.rename(target)
    sync(target.parent)


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Hard-link `source` to `target`; `source` must never be written to again.

    Copy it where a link is impossible: on another disk, or on a file system without links. Raise
    `FileExistsError` if `target` exists.
    """
    try:
        # Resolved, so that a symbolic link is not linked itself.
        os.link(os.path.realpath(source), target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def read_lines(target: Path) -> list[bytes]:
    """Return the complete lines of a file, without their newlines; none if the file is missing."""
    content = target.read_bytes() if target.exists() else b""
    return content[: content.rfind(b"\n") + 1].splitlines()


def read_json_lines(target: Path) -> list[Any]:
    """Return the JSON values of the complete lines of a file; none if the file is missing."""
    return [json.loads(line) for line in read_lines(target)]


@dataclass
class _Lines:
    """The entries of a file of lines up to `size`, which this process has read or written."""

    size: int = 0
    last: bytes = b""  # the line that ends there
    entries: dict[str, Any] = field(default_factory=dict)


_known = defaultdict[Path, _Lines](_Lines)


def append_once(target: Path, line: str, entry: Callable[[bytes], tuple[str, Any]]) -> Any | None:
    """Append `line` and sync it, unless its key is in the file; then return the value it has there.

    `entry` returns the key of a line and the value to remember. Each process reads a line once: a
    call costs the same however long the file is. A lock beside the file admits one process at a
    time. An incomplete last line is removed: its writer never reported success. Raises `OSError`
    if the line can't be written, such as on a full disk. Then nothing of it stays.
    """
    with FileLock(f"{target}.lock", mode=0o664):
        new = not target.exists()
        with target.open("ab+", buffering=0) as file:
            lines = _read_new_lines(file, target, entry)
            key, value = entry(line.encode())
            if key in lines.entries:
                return lines.entries[key]
            file.truncate(lines.size)
            content = line.encode() + b"\n"
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(lines.size)
                raise
            lines.size, lines.last = lines.size + len(content), content
            lines.entries[key] = value
        if new:
            sync(target.parent)
    return None


def _read_new_lines(
    file: FileIO, target: Path, entry: Callable[[bytes], tuple[str, Any]]
) -> _Lines:
    """Return the lines of `file`; the caller holds its lock."""
    lines = _known[target]
    file.seek(lines.size - len(lines.last))
    if file.read(len(lines.last)) != lines.last:  # another file, such as one from a backup
        lines = _known[target] = _Lines()
        file.seek(0)
    content = file.read()
    for each in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
        key, value = entry(each)
        lines.entries.setdefault(key, value)  # the first one counts
        lines.size, lines.last = lines.size + len(each), each
    return lines
