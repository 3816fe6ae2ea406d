"""Fetch the daily batches that are due and store them as raw partitions.

This step checks no rows. Late, duplicate or absurd rows are stored too, so that validation can
quarantine them visibly. A stored day is fetched again only on request.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, date, datetime

import pandas as pd

from features import column_types, locks, partitions
from pipelines.ingestion import accepted_batches
from pipelines.ingestion.recipe import write_recipe
from pipelines.runtime import stage_command
from settings import LoopError, Settings, UserError

FetchBatch = Callable[[str, date], pd.DataFrame]


@locks.with_data_lock
def fetch_due_batches(
    settings: Settings,
    as_of: datetime,
    fetch: FetchBatch | None = None,
    again: Collection[str] = (),
) -> list[str]:
    """Store every missing raw partition that was due before the UTC day of `as_of`.

    Stored days are fetched again if they are in `again` (`<feed>/<day>`), or if the use
    case's `restated` names them. The rows that they replace are kept.
    Proofs pass another `fetch`.

    Return the names of the stored batches, without days that came again with the same rows. A feed
    stops at the first missing day that fails, so it never has a gap. The other feeds continue, and
    a `LoopError` at the end names each feed and day. Raise `UserError` if a day in `again` is not
    due.
    """
    fetch = fetch or settings.use_case.fetch
    refetch = _requested_again(settings, as_of, again) | _restated_by_source(settings, as_of)
    stored: list[str] = []
    failures: list[tuple[str, date, Exception]] = []
    for feed in settings.use_case.feeds:
        present = set(partitions.partition_days(settings.data, "raw", feed))
        for day in due_days(settings, feed, as_of):
            name = f"{feed}/{day}"
            if day in present and name not in refetch:
                continue
            try:
                if _store_raw(settings, feed, day, fetch(feed, day)):
                    stored.append(name)
            # Arrow raises the last two for a batch whose columns mix types.
            except (LookupError, OSError, ValueError, TypeError) as error:
                failures.append((feed, day, error))
                if day not in present:
                    break
    if failures:
        lines = [
            f"The feed {feed} could not be fetched for {day}: {type(error).__name__}: {error}"
            for feed, day, error in failures
        ]
        advice = (
            f"Other new batches stored: {len(stored)}. Fix the cause, then run `mlops ingest` "
            "again. It continues from the day that failed."
        )
        raise LoopError("\n".join([*lines, advice])) from failures[0][2]
    return stored


def count_missing_batches(settings: Settings, feed: str, as_of: datetime) -> int:
    """Count the batches of `feed` that are due at `as_of` and not validated."""
    validated = set(partitions.partition_days(settings.data, "validated", feed))
    return len(set(due_days(settings, feed, as_of)) - validated)


def due_days(settings: Settings, feed: str, as_of: datetime) -> list[date]:
    """Return the UTC days, over at `as_of` (aware), on which `feed` publishes a batch."""
    first_day = stage_command.parse_time(settings.params().get("first_day"), "first_day").date()
    until = as_of.astimezone(UTC).date()
    return [
        day for day in partitions.day_range(first_day, until) if settings.use_case.due(feed, day)
    ]


def _requested_again(settings: Settings, as_of: datetime, again: Collection[str]) -> set[str]:
    if not again:
        return set()
    due = {
        f"{feed}/{day}"
        for feed in settings.use_case.feeds
        for day in due_days(settings, feed, as_of)
    }
    if unknown := sorted(set(again) - due):
        raise UserError(
            f"No batch {', '.join(unknown)} is due before {as_of:%Y-%m-%d %H:%M} UTC. "
            f"The feeds are {', '.join(settings.use_case.feeds)}. Write `--again FEED/YYYY-MM-DD`."
        )
    return set(again)


def _restated_by_source(settings: Settings, as_of: datetime) -> set[str]:
    if settings.workspace:  # a training works on a frozen copy
        return set()
    use_case = settings.use_case
    return {f"{feed}/{day}" for feed in use_case.feeds for day in use_case.restated(feed, as_of)}


def _store_raw(settings: Settings, feed: str, day: date, rows: pd.DataFrame) -> bool:
    """Store a raw batch, keep what it replaces, and return whether the content is new.

    Columns take their declared types here, so that an empty column has the type of other days.
    """
    schema = settings.use_case.schema(feed)
    table = column_types.conform(column_types.to_arrow(rows), schema)
    target = partitions.partition_path(settings.data, "raw", feed, day)
    with suppress(LoopError):  # missing or unreadable: store it
        if column_types.conform(partitions.read_partition(target), schema).equals(table):
            return False
    accepted_batches.keep_replaced(settings.data, feed, day, "raw")
    partitions.write_partition(table, target)
    return True


def ingest_stage(settings: Settings, as_of: datetime) -> None:
    """Recipe stage: store the due batches, and write the recipe of the stages after it."""
    write_recipe(settings)
    print(len(fetch_due_batches(settings, as_of)), "new batches")


if __name__ == "__main__":
    stage_command.run_stage_command(ingest_stage)
