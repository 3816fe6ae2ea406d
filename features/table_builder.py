"""Which rows the feature tables hold: built from validated batches, one file per table and day."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from features import build_manifest, partitions
from features.build_manifest import PUBLICATIONS, PartitionDigests, Span
from usecase.feature_views import TABLES, Read
from usecase.source import due

DAY = timedelta(days=1)
ComputeTable = Callable[[Read, date, date], pd.DataFrame]
Tables = Mapping[str, tuple[ComputeTable, str]]
DaysRead = dict[str, Span]  # by feed the days that a table was computed from


def build_tables(
    data: Path, first: date, as_of: datetime, lag: timedelta, tables: Tables = TABLES
) -> dict[str, int]:
    """Builds what is missing of each table before `as_of`, or was built from other batches.

    Returns the number of days built by table. A row's `publication_times` is the time at which it
    was
    published: its `event_timestamp` plus `lag`, or what `record_late_publication` noted where a
    run came
    later. So building day by day, also after a batch was replaced, gives the bytes of a full
    rebuild. What was begun and not noted is built again.
    """
    note, now, late = (
        _note(data, lag),
        build_manifest.partition_digests(data),
        late_publications(data),
    )
    done = {}
    for table, (compute, feed) in tables.items():
        days = [
            day for day in _due(now, feed, first, as_of)
            if not build_manifest.is_day_current(data, note, now, table, day)
        ]  # fmt: skip
        note["feeds"][table] = feed
        entries = note["tables"].setdefault(table, {})
        for day in days:
            entries.pop(day.isoformat(), None)
        build_manifest.write_manifest(
            data, note
        )  # before the files: a day noted is never half replaced
        for start, end in _ranges(days):
            rows, asked = _computed(data, compute, start, end)
            rows["created"] = publication_times(rows["event_timestamp"], lag, late)
            _store(data, table, rows, start, end)
            for day in partitions.day_range(start, end + DAY):
                there = partitions.partition_path(data, "features", table, day).exists()
                entries[day.isoformat()] = build_manifest.manifest_entry(
                    now, asked(day), day, rows=there
                )
        if days:
            build_manifest.write_manifest(data, note)
        done[table] = len(days)
    return done


def _note(data: Path, lag: timedelta) -> dict[str, Any]:
    """The note on the tables that there are; those of another recipe, or of none, are removed."""
    note, recipe = build_manifest.read_manifest(data), build_manifest.build_recipe(data, lag)
    if note["recipe"] == recipe:
        return note
    for part in (data / "features").rglob(f"*{partitions.SUFFIX}"):
        part.unlink()
    (data / "features" / partitions.RECIPE).unlink(missing_ok=True)  # of an earlier layout
    return {"recipe": recipe, "feeds": {}, "tables": {}}


def _computed(
    data: Path, compute: ComputeTable, start: date, end: date
) -> tuple[pd.DataFrame, Callable[[date], DaysRead]]:
    """The rows of `start` to `end`, and which days of each feed a day of them depends on.

    A long range reads more than each of its days does. A second, short look at its last day tells
    whether the first day read moves with the range, or is fixed.
    """
    whole: DaysRead = {}
    rows = compute(_reader(data, whole), start, end)
    last: DaysRead = {}
    if start == end:
        last = whole
    else:
        compute(_reader(data, last), end, end)

    def asked(day: date) -> DaysRead:
        return {
            feed: (
                day - (start - since)
                if feed in last and end - last[feed][0] == start - since
                else since,
                day + (until - end),
            )
            for feed, (since, until) in whole.items()
        }

    return rows, asked


def _store(data: Path, table: str, rows: pd.DataFrame, start: date, end: date) -> None:
    parts = dict(list(rows.groupby("day")))
    for day in partitions.day_range(start, end + DAY):
        target = partitions.partition_path(data, "features", table, day)
        if day in parts:
            partitions.write_partition(
                parts[day].drop(columns="day").reset_index(drop=True), target
            )
        else:
            target.unlink(missing_ok=True)


def record_late_publication(data: Path, hour: datetime, published: datetime) -> None:
    """Notes that the features of `hour` became visible at `published`, later than planned.

    Without the note a training would see rows that no request could have seen. Call it before the
    day's tables are built.
    """
    target = partitions.partition_path(data, *PUBLICATIONS, hour.astimezone(UTC).date())
    rows = pd.DataFrame(
        {"event_timestamp": [pd.Timestamp(hour)], "published_at": [pd.Timestamp(published)]}
    )
    if target.exists():
        rows = pd.concat([pd.read_parquet(target), rows]).drop_duplicates("event_timestamp")
    partitions.write_partition(rows.sort_values("event_timestamp", ignore_index=True), target)


def late_publications(data: Path) -> pd.Series[pd.Timestamp]:
    """When the hours that were published late became visible, by hour; both UTC."""
    noted = partitions.read_days(data, *PUBLICATIONS, date.min, date.max)
    if noted.empty:
        return pd.Series(dtype="datetime64[us, UTC]", index=pd.DatetimeIndex([], tz="UTC"))
    return noted.set_index("event_timestamp")["published_at"]


def publication_times(
    events: pd.Series[pd.Timestamp], lag: timedelta, late: pd.Series[pd.Timestamp]
) -> pd.Series[pd.Timestamp]:
    """When rows of these events were published: as planned, or when `late` notes it."""
    planned = (events + lag).astype("datetime64[us, UTC]")
    if late.empty:
        return planned
    noted = events.map(late)
    return planned.where(noted.isna() | (noted <= planned), noted)


def _reader(data: Path, asked: DaysRead) -> Read:
    """Reads validated rows, and notes in `asked` the days that were asked for."""

    def read(feed: str, first: date, last: date) -> pd.DataFrame:
        before = asked.get(feed, (first, last))
        asked[feed] = min(first, before[0]), max(last, before[1])
        return partitions.read_days(data, "validated", feed, first, last)

    return read


def _due(now: PartitionDigests, feed: str, first: date, as_of: datetime) -> list[date]:
    days = partitions.day_range(first, as_of.astimezone(UTC).date())
    return [day for day in days if due(feed, day) and day in now.get(feed, {})]


def _ranges(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """Runs of consecutive days, as (first, last)."""
    start = None
    for number, day in enumerate(days):
        start = start or day
        if number + 1 == len(days) or days[number + 1] != day + timedelta(days=1):
            yield start, day
            start = None
