"""The simulated time of the data, which scheduled flows use as their `as_of`.

The clock starts at the parameters' `as_of` when it is first read. A replay moves it forward, so
that scheduled flows continue after the replay and never before it.
"""

from datetime import UTC, datetime
from pathlib import Path

from features import durable_files
from pipelines.runtime.stage_command import parse_time
from settings import Settings


def now(settings: Settings, at: datetime | None = None) -> datetime:
    """Return the simulated time (UTC) at the real time `at`, by default the current time."""
    from usecase import source

    at = at or datetime.now(UTC)
    started = durable_files.read_json(_file(settings)) or _write(
        settings, parse_time(settings.params().get("as_of")), at
    )
    as_of, since = (datetime.fromisoformat(started[name]) for name in ("as_of", "at"))
    return source.world_time(at, as_of=as_of, since=since)


def is_started(settings: Settings) -> bool:
    """Whether the clock was read before; code that only displays it must not start it."""
    return durable_files.read_json(_file(settings)) is not None


def advance_to(settings: Settings, as_of: datetime) -> None:
    """Move the clock forward to `as_of`; an earlier time changes nothing."""
    at = datetime.now(UTC)
    if not is_started(settings) or now(settings, at) < as_of:
        _write(settings, as_of, at)


def _file(settings: Settings) -> Path:
    return settings.var / "world.json"


def _write(settings: Settings, as_of: datetime, at: datetime) -> dict[str, str]:
    times = {"as_of": as_of.isoformat(), "at": at.isoformat()}
    durable_files.write_json(_file(settings), times)
    return times
