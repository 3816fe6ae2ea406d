"""Locks between processes, by filelock. A lock names its holder and is released when it dies.

The lock on `data/`: one command at a time writes partitions, tables or the online store.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

from filelock import FileLock, Timeout

from features import durable_files
from settings import LoopError, Settings

P = ParamSpec("P")
R = TypeVar("R")
PATIENCE = 600.0  # seconds for the data lock; ingesting a whole year takes less
POLL = 0.05  # seconds between two attempts to take a lock
SILENT = 2.0  # seconds of waiting before the user sees a message


@contextmanager
def hold_lock(
    path: Path, patience: float | None = None, *, refused: type[LoopError] = LoopError,
    what: str = "Another command",
) -> Iterator[None]:  # fmt: skip
    """Hold the lock file `path`, which contains the holder: pid, start (UTC) and command.

    Wait for another holder for up to `patience` seconds, or without limit if None. After two
    seconds, print a message to stderr. After `patience`, raise `refused` with the holder's name.
    The kernel releases the lock when its holder dies; child processes do not inherit it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, poll_interval=POLL, mode=0o664)
    try:
        _acquire(lock, path, patience)
    except Timeout as error:
        raise refused(
            f"{what} is at work in {path.parent}: {_holder(path)}; it holds {path.name}. "
            "Wait until it ends, or stop it. Then run this again.",
            code="locked",
        ) from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        # In place, not atomically: the lock is on this very file, and the text is for messages.
        path.write_text(f"pid {os.getpid()}, since {since} ({shlex.join(sys.argv)})")
        yield
    finally:
        with suppress(OSError):
            os.truncate(path, 0)
        lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock file `path` now."""
    if not path.exists():
        return False
    try:  # another `is_locked` also holds it for a moment
        with FileLock(path, poll_interval=POLL).acquire(timeout=4 * POLL):
            return False
    except Timeout:
        return True


def _acquire(lock: FileLock, path: Path, patience: float | None) -> None:
    quiet = SILENT if patience is None else min(patience, SILENT)
    try:
        lock.acquire(timeout=max(quiet, 4 * POLL))  # `is_locked` also holds it for a moment
    except Timeout:
        if patience == quiet:
            raise
        print(f"Waiting for {_holder(path)}, which holds {path} ...", file=sys.stderr)
        lock.acquire(timeout=-1 if patience is None else patience - quiet)  # -1: no limit


def _holder(path: Path) -> str:
    """Describe the holder of the lock file `path`, for a message."""
    text = path.read_text() if path.exists() else ""
    return text or "a process that has just taken it"


@contextmanager
def hold_data_lock(settings: Settings) -> Iterator[None]:
    """Hold the lock on the data of `settings`; not re-entrant. Raise `LoopError` after 600 s."""
    with hold_lock(settings.data / ".lock", PATIENCE, what="Another command that writes"):
        durable_files.remove_unfinished(settings.data)
        yield


def with_data_lock(
    step: Callable[Concatenate[Settings, P], R],
) -> Callable[Concatenate[Settings, P], R]:
    """Decorate `step(settings, ...)` to hold the data lock while it runs."""

    @wraps(step)
    def locked_step(settings: Settings, *args: P.args, **kwargs: P.kwargs) -> R:
        with hold_data_lock(settings):
            return step(settings, *args, **kwargs)

    return cast(Callable[Concatenate[Settings, P], R], locked_step)
