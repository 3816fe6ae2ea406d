"""The time of the loop: that of the simulated clock, as the file of the clock holds it.

`pipelines/runtime/clock.py` starts and moves the clock. The service reads it for each request.
"""

import os
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from features import durable_files
from settings import Settings


def loop_time(settings: Settings, at: datetime) -> datetime | None:
    """Return the loop's time (UTC) at the real time `at`; None if the clock was never started."""
    try:
        stat = os.stat(settings.clock_file)
    except FileNotFoundError:
        return None
    started = _read_start(settings.clock_file, stat.st_ino, stat.st_mtime_ns)
    return started and settings.use_case.world_time(at, as_of=started[0], since=started[1])


@lru_cache(maxsize=1)
def _read_start(path: Path, _inode: int, _changed: int) -> tuple[datetime, datetime] | None:
    """Return a simulated time and its real time; cached until the file is replaced."""
    started = durable_files.read_json(path)
    if started is None:
        return None
    return datetime.fromisoformat(started["as_of"]), datetime.fromisoformat(started["at"])
