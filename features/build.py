"""Which rows the feature tables hold: built from validated batches, one file per table and day."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd

from features import built, partitions
from usecase.feature_views import TABLES, Read
from usecase.source import due

PUBLICATIONS = ("raw", "publications")
Tables = Mapping[str, tuple[Callable[[Read, date, date], pd.DataFrame], str]]


def build_new(
    data: Path, first: date, as_of: datetime, lag: timedelta, tables: Tables = TABLES
) -> dict[str, int]:
    """Builds each table for the whole days before `as_of` that it lacks; number of days by table.

    A row's `created` is the time at which it was published: its `event_timestamp` plus `lag`, or
    what `record_publication` noted where a run came later. So a full rebuild gives the same bytes
    as building day by day.
    """
    partitions.follow_recipe(data / "features", built.recipe(data, lag))
    late = publications(data)
    done = {}
    for table, (compute, feed) in tables.items():
        missing = _missing(data, table, feed, first, as_of)
        for start, end in _ranges(missing):
            rows = compute(_reader(data), start, end)
            rows["created"] = created(rows["event_timestamp"], lag, late)
            for day, part in rows.groupby("day"):
                partitions.write(
                    part.drop(columns="day").reset_index(drop=True),
                    partitions.path(data, "features", table, day),
                )
        done[table] = len(missing)
    built.note(data, as_of, lag)
    return done


def record_publication(data: Path, hour: datetime, published: datetime) -> None:
    """Notes that the features of `hour` became visible at `published`, later than planned.

    Without the note a training would see rows that no request could have seen. Call it before the
    day's tables are built.
    """
    target = partitions.path(data, *PUBLICATIONS, hour.astimezone(UTC).date())
    rows = pd.DataFrame(
        {"event_timestamp": [pd.Timestamp(hour)], "published_at": [pd.Timestamp(published)]}
    )
    if target.exists():
        rows = pd.concat([pd.read_parquet(target), rows]).drop_duplicates("event_timestamp")
    partitions.write(rows.sort_values("event_timestamp", ignore_index=True), target)


def publications(data: Path) -> pd.Series[pd.Timestamp]:
    """When the hours that were published late became visible, by hour; both UTC."""
    noted = partitions.read(data, *PUBLICATIONS, date.min, date.max)
    if noted.empty:
        return pd.Series(dtype="datetime64[us, UTC]", index=pd.DatetimeIndex([], tz="UTC"))
    return noted.set_index("event_timestamp")["published_at"]


def created(
    events: pd.Series[pd.Timestamp], lag: timedelta, late: pd.Series[pd.Timestamp]
) -> pd.Series[pd.Timestamp]:
    """When rows of these events were published: as planned, or when `late` notes it."""
    planned = (events + lag).astype("datetime64[us, UTC]")
    if late.empty:
        return planned
    noted = events.map(late)
    return planned.where(noted.isna() | (noted <= planned), noted)


def _reader(data: Path) -> Read:
    def read(feed: str, first: date, last: date) -> pd.DataFrame:
        return partitions.read(data, "validated", feed, first, last)

    return read


def _missing(data: Path, table: str, feed: str, first: date, as_of: datetime) -> list[date]:
    have = set(partitions.days(data, "features", table))
    validated = set(partitions.days(data, "validated", feed))
    days = partitions.whole_days(first, as_of.astimezone(UTC).date())
    return [day for day in days if due(feed, day) and day in validated and day not in have]


def _ranges(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """Runs of consecutive days, as (first, last)."""
    start = None
    for number, day in enumerate(days):
        start = start or day
        if number + 1 == len(days) or days[number + 1] != day + timedelta(days=1):
            yield start, day
            start = None
