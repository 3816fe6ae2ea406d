"""Which daily batches are due and not here yet: fetched from the source, stored as they came.

Nothing is judged here: a row that is late, double or absurd is stored too, so that validation can
quarantine it in sight of everyone. A day that is stored is not fetched again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pandas as pd

from features import partitions
from pipelines import stage
from settings import LoopError, Settings
from usecase import source

Fetch = Callable[[str, date], pd.DataFrame]


def fetch_new(settings: Settings, as_of: datetime, fetch: Fetch | None = None) -> list[str]:
    """Stores every raw partition that was due before the UTC day of `as_of` and is missing.

    Returns their names, `<feed>/<day>`. A feed that fails stops at that day, so that no gap is
    jumped; the other feeds go on, and a `LoopError` at the end names the feed and the day. Whoever
    proves what a fault does gives another `fetch`.
    """
    fetch = fetch or source.fetch
    stored: list[str] = []
    failures: list[tuple[str, date, Exception]] = []
    for feed in source.FEEDS:
        here = set(partitions.days(settings.data, "raw", feed))
        for day in due_days(settings, feed, as_of):
            if day in here:
                continue
            try:
                rows = fetch(feed, day)
                partitions.write(rows, partitions.path(settings.data, "raw", feed, day))
            # A batch whose columns mix types can't be stored: Arrow's errors are the last two.
            except (LookupError, OSError, ValueError, TypeError) as error:
                failures.append((feed, day, error))
                break
            stored.append(f"{feed}/{day}")
    if failures:
        raise LoopError(_told(failures, len(stored))) from failures[0][2]
    return stored


def missing(settings: Settings, feed: str, as_of: datetime) -> int:
    """How many batches of `feed` are due at `as_of` and not validated."""
    here = set(partitions.days(settings.data, "validated", feed))
    return len(set(due_days(settings, feed, as_of)) - here)


def due_days(settings: Settings, feed: str, as_of: datetime) -> list[date]:
    """The UTC days, over at `as_of` (aware), on which `feed` publishes a batch."""
    first_day = stage.moment(settings.params().get("first_day"), "first_day").date()
    until = as_of.astimezone(UTC).date()
    return [day for day in partitions.whole_days(first_day, until) if source.due(feed, day)]


def _told(failures: list[tuple[str, date, Exception]], n_stored: int) -> str:
    lines = [
        f"The feed {feed} could not be fetched for {day}: {type(error).__name__}: {error}"
        for feed, day, error in failures
    ]
    advice = (
        f"{n_stored} other new batches are stored and stand. Mend the cause, then run "
        "`mlops ingest` again: it goes on from the day that failed."
    )
    return "\n".join([*lines, advice])


if __name__ == "__main__":
    stage.run(lambda settings, as_of: print(len(fetch_new(settings, as_of)), "new batches"))
