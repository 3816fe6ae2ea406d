"""Who may change the release? One at a time, of all that share `var/`."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from settings import LoopError, Settings

PATIENCE = 60.0  # seconds; a change takes about one, and more where its files are fetched


@contextmanager
def locked(settings: Settings, patience: float = PATIENCE) -> Iterator[None]:
    """Holds `var/release/lock`, which the kernel gives back however the holder ends.

    Raises `LoopError` if another holds it for longer than `patience` seconds.
    """
    path = settings.release_file.with_name("lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise LoopError(
                        f"Another release has been under way for {patience:.0f} s (it holds "
                        f"{path}). Wait until it ends, or stop it, then try again."
                    ) from error
                time.sleep(0.05)
        yield
