"""The release lock: one change at a time among all processes that share `var/`."""

from __future__ import annotations

from contextlib import AbstractContextManager

from features import locks
from settings import Settings

LOCK_TIMEOUT_S = 60.0  # seconds; a change takes about one, and more if it downloads files


def release_lock(
    settings: Settings, patience: float = LOCK_TIMEOUT_S
) -> AbstractContextManager[None]:
    """Hold `var/release/lock`. Raises `LoopError` if another process holds it for `patience` s."""
    return locks.hold_lock(
        settings.release_file.with_name("lock"), patience, what="Another release"
    )
