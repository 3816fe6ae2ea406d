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
    from pipelines.ingestion.batch_checks import CheckedBatches, FeedRules


def new_days(settings: Settings, feed: str, as_of: datetime) -> tuple[list[date], date | None]:
    """Return the new days up to the first due day without a raw batch, and that missing day."""
    validated = set(partitions.partition_days(settings.data, "validated", feed))
    raw = set(partitions.partition_days(settings.data, "raw", feed))
    new: list[date] = []
    for day in ingest.due_days(settings, feed, as_of):
        if day in validated:
            continue
        if day not in raw:
            return new, day
        new.append(day)
    return new, None


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
    recheck = accepted_batches.days_to_recheck(data, feed, due, rules)
    if recheck.outdated:
        from pipelines.ingestion.batch_checks import recheck_accepted

        tables = _raw_tables(data, feed, recheck.outdated)
        yield "judged_again", recheck_accepted(feed, tables, feed_rules(feed))
    days = recheck.restated
    while days:
        checked = _check_days(settings, feed, days, "_restated")
        yield "restated", checked
        # Days after a refused restatement do not wait: each of them has an accepted batch.
        days = [day for day in days if checked.refused and day > checked.refused]
    if new:
        yield "new", _check_days(settings, feed, new)


def feed_rules(feed: str) -> FeedRules:
    """Return the rules of the use case for `feed`."""
    from pipelines.ingestion.batch_checks import FeedRules
    from usecase import expectations, facts, schema

    return FeedRules(
        schema=schema.SCHEMA[feed],
        key=schema.KEYS[feed],
        checks=lambda rows: schema.checks(feed, rows),
        rows=expectations.row_rules(feed),
        batches=expectations.batch_rules(feed),
        facts=lambda rows: facts.facts(feed, rows),
    )


def _check_days(settings: Settings, feed: str, days: list[date], page: str = "") -> CheckedBatches:
    from pipelines.ingestion.batch_checks import check_batches

    length = settings.params()["validation"]["history_batches"]
    history = _history(settings.data, feed, days, length)
    tables = _raw_tables(settings.data, feed, days)
    return check_batches(f"{feed}{page}", tables, history, feed_rules(feed))


def _raw_tables(data: Path, feed: str, days: list[date]) -> dict[date, pa.Table]:
    return {
        day: partitions.read_partition(partitions.partition_path(data, "raw", feed, day))
        for day in days
    }


def _history(data: Path, feed: str, new: list[date], length: int) -> dict[date, list[int]]:
    """Return for each day the row counts of up to `length` raw batches before it.

    A batch in the history that this run refuses does no harm: later days wait for a new check.
    """
    raw = [day for day in partitions.partition_days(data, "raw", feed) if day <= new[-1]]
    since = max(0, raw.index(new[0]) - length)
    sizes = {
        day: partitions.n_rows(partitions.partition_path(data, "raw", feed, day))
        for day in raw[since:]
    }
    counts, position = list(sizes.values()), {day: number for number, day in enumerate(sizes)}
    return {day: counts[max(0, position[day] - length) : position[day]] for day in new}
