"""What a module run by `python -m` needs: its settings, its `as_of`, and an exit on errors."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import settings as configuration
from settings import LoopError, UserError


def parse_time(text: Any, name: str = "as_of") -> datetime:
    """Return the UTC time of an ISO text; a date means its start.

    A text without a zone is UTC. Raises `UserError` if the text is no time.
    """
    try:
        parsed = datetime.fromisoformat(str(text))
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # too early or too late for UTC
        raise UserError(
            f"{name} is {text!r}, not a time. Write a date or a UTC time, such as 2025-04-01 or "
            "2025-04-01T00:00:00Z."
        ) from error


def run_stage_command(step: Callable[[configuration.Settings, datetime], object]) -> None:
    """Run `step` as of the parameters' `as_of`; exit on a `LoopError`, without a traceback."""
    with exit_on_error():
        settings = configuration.load_settings()
        step(settings, parse_time(settings.params().get("as_of")))


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Exit on a `LoopError` with its message and its exit code, without a traceback."""
    try:
        yield
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
