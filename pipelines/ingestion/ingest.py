"""Which daily batches are due and not here yet: fetched from the source, stored as they came.

Nothing is judged here: a row that is late, double or absurd is stored too, so that validation can
quarantine it in sight of everyone. A day that is stored is fetched again only on request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from features import column_types, data_lock, partitions
from pipelines.ingestion import accepted_batches
from pipelines.runtime import stage_command
from settings import LoopError, Settings, UserError
from usecase import source
from usecase.schema import SCHEMA

FetchBatch = Callable[[str, date], pd.DataFrame]


@data_lock.with_data_lock
def fetch_due_batches(
    settings: Settings,
    as_of: datetime,
    fetch: FetchBatch | None = None,
    again: Collection[str] = (),
) -> list[str]:
    """Stores every raw partition that was due before the UTC day of `as_of` and is missing.

    The days in `again` (`<feed>/<day>`) and those that the source names in `restated(feed, as_of)`,
    if it has such a function, are fetched although they are stored; the rows that they replace
    are kept. Returns the names of what was stored: a day that came again with the same rows is
    not among them. A feed that fails stops at that day, so that no gap is jumped; the other feeds
    go on, and a `LoopError` at the end names the feed and the day. Raises `UserError` if a day in
    `again` is not due. Proofs of faults pass another `fetch`.
    """
    fetch = fetch or source.fetch
    wanted = _asked(settings, as_of, again) | _told_restated(settings, as_of)
    stored: list[str] = []
    failures: list[tuple[str, date, Exception]] = []
    for feed in source.FEEDS:
        here = set(partitions.partition_days(settings.data, "raw", feed))
        for day in due_days(settings, feed, as_of):
            name = f"{feed}/{day}"
            if day in here and name not in wanted:
                continue
            try:
                if _store(settings, feed, day, fetch(feed, day)):
                    stored.append(name)
            # A batch whose columns mix types can't be stored: Arrow's errors are the last two.
            except (LookupError, OSError, ValueError, TypeError) as error:
                failures.append((feed, day, error))
                if day not in here:
                    break
    if failures:
        raise LoopError(_told(failures, len(stored))) from failures[0][2]
    return stored


def count_missing_batches(settings: Settings, feed: str, as_of: datetime) -> int:
    """How many batches of `feed` are due at `as_of` and not validated."""
    here = set(partitions.partition_days(settings.data, "validated", feed))
    return len(set(due_days(settings, feed, as_of)) - here)


def due_days(settings: Settings, feed: str, as_of: datetime) -> list[date]:
    """The UTC days, over at `as_of` (aware), on which `feed` publishes a batch."""
    first_day = stage_command.parse_time(settings.params().get("first_day"), "first_day").date()
    until = as_of.astimezone(UTC).date()
    return [day for day in partitions.day_range(first_day, until) if source.due(feed, day)]


def _asked(settings: Settings, as_of: datetime, again: Collection[str]) -> set[str]:
    if not again:
        return set()
    due = {f"{feed}/{day}" for feed in source.FEEDS for day in due_days(settings, feed, as_of)}
    if unknown := sorted(set(again) - due):
        raise UserError(
            f"No batch {', '.join(unknown)} is due before {as_of:%Y-%m-%d %H:%M} UTC. "
            f"The feeds are {', '.join(source.FEEDS)}. Write `--again FEED/YYYY-MM-DD`."
        )
    return set(again)


def _told_restated(settings: Settings, as_of: datetime) -> set[str]:
    restated = getattr(source, "restated", None)  # most sources can't tell
    if settings.workspace is not None:  # a training sees what stood when it was opened
        return set()
    days = {feed: restated(feed, as_of) for feed in source.FEEDS} if restated else {}
    return {f"{feed}/{day}" for feed, found in days.items() for day in found}


def _store(settings: Settings, feed: str, day: date, rows: pd.DataFrame) -> bool:
    """Stores a raw batch; whether there is another content than before. What it replaces is kept.

    Columns take their declared types here: a union over days must not break on one without values.
    """
    table = column_types.conform(column_types.to_arrow(rows), SCHEMA[feed])
    if _same(settings.data, feed, day, table):
        return False
    accepted_batches.keep_replaced(settings.data, feed, day, "raw")
    partitions.write_partition(table, partitions.partition_path(settings.data, "raw", feed, day))
    return True


def _same(data: Path, feed: str, day: date, table: pa.Table) -> bool:
    stored = partitions.partition_path(data, "raw", feed, day)
    try:
        return bool(
            column_types.conform(partitions.read_partition(stored), SCHEMA[feed]).equals(table)
        )
    except LoopError:  # missing, or unreadable: a reason to fetch it again
        return False


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
    stage_command.run_stage_command(
        lambda settings, as_of: print(len(fetch_due_batches(settings, as_of)), "new batches")
    )
