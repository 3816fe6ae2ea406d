"""Find the batches that need a check, and run the use case's rules on them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from features import partitions
from pipelines.ingestion import accepted_batches, ingest
from settings import Settings

if TYPE_CHECKING:  # Great Expectations takes seconds to import (tests/bench/imports.py)
    from pipelines.ingestion.batch_checks import CheckedBatches


def new_days(settings: Settings, feed: str, as_of: datetime) -> tuple[list[date], date | None]:
    """Return the new days up to the first due day without a raw batch, and that missing day."""
    validated = partitions.partition_days(settings.data, "validated", feed)
    raw = partitions.partition_days(settings.data, "raw", feed)
    new = sorted(set(ingest.due_days(settings, feed, as_of)) - set(validated))
    missing = min(set(new) - set(raw), default=None)
    return [day for day in new if missing is None or day < missing], missing


def check_pending(
    settings: Settings, feed: str, as_of: datetime, new: list[date], rules: str
) -> Iterator[tuple[str, CheckedBatches]]:
    """Yield (kind, checked batches): `judged_again`, then `restated`, then `new` days.

    `rules` is the digest of the current rules. The caller must store each result before it asks
    for the next.
    """
    data = settings.data
    validated = set(partitions.partition_days(data, "validated", feed))
    due = [day for day in ingest.due_days(settings, feed, as_of) if day in validated]
    restated, outdated = accepted_batches.days_to_recheck(data, feed, due, rules)
    if not (restated or outdated or new):
        return
    from pipelines.ingestion import batch_checks

    of_feed = batch_checks.feed_rules(settings.use_case, feed)
    length = settings.params()["validation"]["history_batches"]

    def check(page: str, days: list[date]) -> CheckedBatches:
        tables, history = _raw_tables(data, feed, days), _history(data, feed, days, length)
        return batch_checks.check_batches(page, tables, history, of_feed)

    if outdated:
        tables = _raw_tables(data, feed, outdated)
        yield "judged_again", batch_checks.recheck_accepted(feed, tables, of_feed)
    while restated:
        checked = check(f"{feed}_restated", restated)
        yield "restated", checked
        # Days after a refused restatement do not wait: each of them has an accepted batch.
        restated = [day for day in restated if checked.refused and day > checked.refused]
    if new:
        yield "new", check(feed, new)


def _raw_tables(data: Path, feed: str, days: list[date]) -> dict[date, pa.Table]:
    return {
        day: partitions.read_partition(partitions.partition_path(data, "raw", feed, day))
        for day in days
    }


def _history(data: Path, feed: str, new: list[date], length: int) -> dict[date, list[int]]:
    """Return for each day the row counts of up to `length` raw batches before it.

    A batch in the history that this run refuses does no harm: later days wait for a new check.
    """
    raw = partitions.partition_days(data, "raw", feed)
    days = raw[max(0, raw.index(new[0]) - length) : raw.index(new[-1]) + 1]
    paths = (partitions.partition_path(data, "raw", feed, day) for day in days)
    counts = [partitions.n_rows(path) for path in paths]
    return {day: counts[max(0, at - length) : at] for at, day in enumerate(days) if day in new}
