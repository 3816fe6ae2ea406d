"""The simulated time of the data, which scheduled flows use as their `as_of`.

The clock starts at the parameters' `as_of` when it is first read. A replay moves it forward, so
that scheduled flows continue after the replay and never before it.
"""

from datetime import UTC, datetime

from features import durable_files
from features.loop_time import loop_time
from pipelines.runtime.stage_command import parse_time
from settings import Settings


def now(settings: Settings, at: datetime | None = None) -> datetime:
    """Return the simulated time (UTC) at the real time `at`, by default the current time."""
    at = at or datetime.now(UTC)
    if (moment := loop_time(settings, at)) is not None:
        return moment
    start = parse_time(settings.params().get("as_of"))
    _write(settings, start, at)
    return settings.use_case.world_time(at, as_of=start, since=at)


def is_started(settings: Settings) -> bool:
    """Whether the clock was read before; code that only displays it must not start it."""
    return loop_time(settings, datetime.now(UTC)) is not None


def advance_to(settings: Settings, as_of: datetime) -> None:
    """Move the clock forward to `as_of`; an earlier time changes nothing."""
    at = datetime.now(UTC)
    moment = loop_time(settings, at)
    if moment is None or moment < as_of:
        _write(settings, as_of, at)


def _write(settings: Settings, as_of: datetime, at: datetime) -> None:
    times = {"as_of": as_of.isoformat(), "at": at.isoformat()}
    durable_files.write_json(settings.clock_file, times)
