"""Locks between processes, by filelock: a lock names its holder, and dies with it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from settings import LoopError

POLL = 0.05  # seconds between two attempts to take a lock
SILENT = 2.0  # seconds of waiting for a lock before the user is told


@contextmanager
def hold_lock(
    path: Path, patience: float | None = None, *, refused: type[LoopError] = LoopError,
    what: str = "Another command",
) -> Iterator[None]:  # fmt: skip
    """Hold the lock file `path`, whose text names the holder: pid, since when (UTC), command.

    Waits for another holder up to `patience` seconds, without end if None, and says so on stderr
    after two. Raises `refused`, which names the holder, if it takes longer. The kernel releases the
    lock when its holder dies; child processes do not inherit it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, poll_interval=POLL, mode=0o664)
    _acquire(lock, path, patience, refused, what)
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        _note(path, {"pid": os.getpid(), "since": since, "command": shlex.join(sys.argv)})
        yield
    finally:
        with suppress(OSError):
            os.truncate(path, 0)
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file `path` now."""
    if not path.exists():
        return False
    lock = FileLock(path, poll_interval=POLL)
    try:
        lock.acquire(timeout=4 * POLL)  # another that only looks holds it for a moment, too
    except Timeout:
        return True
    lock.release()
    return False


def _acquire(
    lock: FileLock, path: Path, patience: float | None, refused: type[LoopError], what: str
) -> None:
    silent = SILENT if patience is None else min(patience, SILENT)
    rest = -1.0 if patience is None else patience - silent  # filelock takes -1 for no end
    try:
        try:
            lock.acquire(timeout=max(silent, 4 * POLL))  # `is_locked` holds it for a moment, too
        except Timeout:
            if not rest:
                raise
            print(f"Waiting for {lock_holder(path)}, which holds {path} ...", file=sys.stderr)
            lock.acquire(timeout=rest)
    except Timeout as error:
        raise refused(
            f"{what} is at work in {path.parent}: {lock_holder(path)}; it holds {path.name}. "
            "Wait until it ends, or stop it. Then run this again."
        ) from error


def lock_holder(path: Path) -> str:
    """The holder of the lock file `path`, for a message."""
    try:
        found = json.loads(path.read_text())
        return f"pid {found['pid']}, since {found['since']} ({found['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has just taken it"


def _note(path: Path, found: dict[str, Any]) -> None:
    # In place, and not atomically: the lock is on this very file, and the text is for messages.
    path.write_text(json.dumps(found))
