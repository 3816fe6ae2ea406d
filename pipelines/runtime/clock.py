"""What time is it in the world that the data tell of? What the scheduled flows take as `as_of`.

The clock starts at the parameters' `as_of` when it is first asked, and a replay moves it forward:
so what the schedule starts goes on where the replay stands, and never from behind it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from features import durable_files
from pipelines.runtime.stage_command import parse_time
from settings import Settings


def now(settings: Settings, at: datetime | None = None) -> datetime:
    """The world's time (UTC) at the real time `at`, by default this moment."""
    from usecase import source

    at = at or datetime.now(UTC)
    if not is_started(settings):
        _write(settings, parse_time(settings.params().get("as_of")), at)
    known = json.loads(_file(settings).read_bytes())
    return source.world_time(
        at, as_of=datetime.fromisoformat(known["as_of"]), since=datetime.fromisoformat(known["at"])
    )


def is_started(settings: Settings) -> bool:
    """Whether anyone has asked yet; who only looks must not be the one who starts it."""
    return durable_files.read_json(_file(settings)) is not None


def advance_to(settings: Settings, as_of: datetime) -> None:
    """The world has reached `as_of`; a time that it has passed already changes nothing."""
    at = datetime.now(UTC)
    if not is_started(settings) or now(settings, at) < as_of:
        _write(settings, as_of, at)


def _file(settings: Settings) -> Path:
    return settings.var / "world.json"


def _write(settings: Settings, as_of: datetime, at: datetime) -> None:
    durable_files.write_json(_file(settings), {"as_of": as_of.isoformat(), "at": at.isoformat()})
