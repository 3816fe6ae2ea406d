"""Batches that are to be judged, and the verdicts on them."""

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
    """The days to judge, up to the first that is due and has no raw batch; and that one."""
    done = set(partitions.partition_days(settings.data, "validated", feed))
    raw = set(partitions.partition_days(settings.data, "raw", feed))
    new: list[date] = []
    for day in ingest.due_days(settings, feed, as_of):
        if day in done:
            continue
        if day not in raw:
            return new, day
        new.append(day)
    return new, None


def check_pending(
    settings: Settings, feed: str, as_of: datetime, new: list[date], rules_now: str
) -> Iterator[tuple[str, CheckedBatches]]:
    """What is judged, as (kind, verdict): `judged_again`, then `restated`, then `new` days.

    Each verdict must be stored before the next is asked for.
    """
    data = settings.data
    done = set(partitions.partition_days(data, "validated", feed))
    due = [day for day in ingest.due_days(settings, feed, as_of) if day in done]
    again = accepted_batches.days_to_recheck(data, feed, due, rules_now)
    if again.outdated:
        from pipelines.ingestion.batch_checks import recheck_accepted

        yield (
            "judged_again",
            recheck_accepted(feed, _raw(data, feed, again.outdated), feed_rules(feed)),
        )
    left = again.restated
    while left:
        verdict = _judged(settings, feed, left, "_restated")
        yield "restated", verdict
        # A refused one does not make others wait: each of these days has an accepted batch.
        left = [day for day in left if verdict.refused and day > verdict.refused]
    if new:
        yield "new", _judged(settings, feed, new)


def feed_rules(feed: str) -> FeedRules:
    """What the use case asks of `feed`."""
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


def _judged(settings: Settings, feed: str, days: list[date], page: str = "") -> CheckedBatches:
    from pipelines.ingestion.batch_checks import check_batches

    length = settings.params()["validation"]["history_batches"]
    before = _history(settings.data, feed, days, length)
    return check_batches(f"{feed}{page}", _raw(settings.data, feed, days), before, feed_rules(feed))


def _raw(data: Path, feed: str, days: list[date]) -> dict[date, pa.Table]:
    return {
        day: partitions.read_partition(partitions.partition_path(data, "raw", feed, day))
        for day in days
    }


def _history(data: Path, feed: str, new: list[date], length: int) -> dict[date, list[int]]:
    """For each day the row counts of the `length` raw batches before it, or as many as there are.

    A batch in it that is refused now does no harm: the days after it wait, and are judged anew.
    """
    raw = [day for day in partitions.partition_days(data, "raw", feed) if day <= new[-1]]
    since = max(0, raw.index(new[0]) - length)
    sizes = {
        day: partitions.n_rows(partitions.partition_path(data, "raw", feed, day))
        for day in raw[since:]
    }
    counts, at = list(sizes.values()), {day: number for number, day in enumerate(sizes)}
    return {day: counts[max(0, at[day] - length) : at[day]] for day in new}
