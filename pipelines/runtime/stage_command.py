"""How a stage of the recipe is run from the command line: its settings, its moment, its errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import settings as configuration
from settings import LoopError, UserError


def parse_time(text: Any, name: str = "as_of") -> datetime:
    """An aware UTC time from ISO text; a day means its start. Raises `UserError` if it is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise UserError(
            f"{name} is {text!r}; write a day or a UTC time, such as 2013-04-01 or "
            "2013-04-01T00:00:00Z."
        ) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def run_stage_command(step: Callable[[configuration.Settings, datetime], object]) -> None:
    """Runs `step` as of the parameters' `as_of`; a known error is told without a traceback."""
    settings = configuration.load_settings()
    try:
        step(settings, parse_time(settings.params().get("as_of")))
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
