"""Are the feature tables up to date? Answered without importing what builds them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import usecase
from features import durable, partitions

NOTE = "BUILT"
CODE = ("columns.py", "feature_views.py", "windows.py")


def recipe(data: Path, lag: timedelta) -> str:
    """A digest of what makes the tables: their code, the lag, and the rules that rows passed."""
    code = [
        Path(usecase.__file__).parent / name
        for name in ("columns.py", "feature_views.py", "windows.py")
    ]
    rules = data / "validated" / partitions.RECIPE  # rows judged by other rules are other rows
    return partitions.recipe_of(*code, str(lag), rules.read_text() if rules.exists() else "")


def up_to_date(data: Path, as_of: datetime, lag: timedelta) -> bool:
    """Whether the last build was of the batches that there are before `as_of`, by this recipe."""
    note = data / "features" / NOTE
    return note.exists() and note.read_text() == _state(data, as_of, lag)


def note(data: Path, as_of: datetime, lag: timedelta) -> None:
    """Notes that all tables are built from the batches that there are before `as_of`."""
    durable.write(data / "features" / NOTE, _state(data, as_of, lag))


def _state(data: Path, as_of: datetime, lag: timedelta) -> str:
    until = as_of.astimezone(UTC).date()
    feeds = sorted(folder.name for folder in (data / "validated").glob("*") if folder.is_dir())
    days = [
        f"{feed}/{day}"
        for feed in feeds
        for day in partitions.days(data, "validated", feed)
        if day < until
    ]
    return partitions.recipe_of(recipe(data, lag), *days)
