"""Build the feature tables from validated batches: one Parquet file per table and UTC day."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from contract import ComputeTable, Read, Tables, UseCase
from features import build_manifest, partitions
from features.build_manifest import PUBLICATIONS
from settings import Settings

DAY = timedelta(days=1)
DaysRead = dict[str, tuple[date, date]]  # by feed: first and last day, both included


def build_tables(
    settings: Settings, first: date, as_of: datetime, lag: timedelta,
    tables: Tables | None = None,
) -> dict[str, int]:  # fmt: skip
    """Build the days of each table before `as_of` that are missing or have changed inputs.

    Return the number of days built by table. A row's `created` is its time of publishing: its
    `event_timestamp` plus `lag`, or the later time from `record_late_publication`. Building day by
    day therefore gives the same bytes as a full rebuild, also after a batch was replaced. An
    interrupted build starts the unfinished days again. Raise `LoopError` for a file in a table that
    is not named after a day.
    """
    use_case, data = settings.use_case, settings.data
    manifest = _current_manifest(use_case, data, lag)
    inputs = build_manifest.partition_digests(use_case, data)
    late = late_publications(data)
    until = as_of.astimezone(UTC).date()
    n_built = {}
    tables = use_case.tables() if tables is None else tables
    for table, (compute, feed) in tables.items():
        partitions.partition_days(data, "features", table)  # raises for a copy, which Feast reads
        entries = manifest["tables"].setdefault(table, {})
        outdated = [
            day for day in inputs[feed]
            if first <= day < until
            and not build_manifest.is_day_current(data, entries, inputs, table, day)
        ]  # fmt: skip
        n_built[table] = len(outdated)
        if not outdated:
            continue
        for day in outdated:
            entries.pop(day.isoformat(), None)
        # Before the files: a day in the manifest is never half replaced.
        build_manifest.write_manifest(data, manifest)
        for run in _consecutive(outdated):
            rows, days_read = _compute(data, compute, run[0], run[-1])
            rows["created"] = publication_times(rows["event_timestamp"], lag, late)
            by_day = dict(list(rows.groupby("day")))
            for day in run:
                target = partitions.partition_path(data, "features", table, day)
                if day in by_day:
                    day_rows = by_day[day].drop(columns="day").reset_index(drop=True)
                    partitions.write_partition(day_rows, target)
                else:
                    target.unlink(missing_ok=True)
                spans = days_read(day)
                digest = build_manifest.inputs_digest(inputs, spans, day)
                entries[day.isoformat()] = {"read": spans, "digest": digest, "rows": day in by_day}
        build_manifest.write_manifest(data, manifest)
    return n_built


def _current_manifest(use_case: UseCase, data: Path, lag: timedelta) -> dict[str, Any]:
    """Return the manifest; if another recipe made the tables, remove them and start empty."""
    manifest = build_manifest.read_manifest(data)
    recipe = build_manifest.build_recipe(use_case, lag)
    if manifest["recipe"] == recipe:
        return manifest
    for path in partitions.files_below(data / "features"):
        if path.suffix == partitions.SUFFIX or path.name == partitions.RECIPE:  # of an old layout
            path.unlink()
    return {"recipe": recipe, "tables": {}}


def _compute(
    data: Path, compute: ComputeTable, start: date, end: date
) -> tuple[pd.DataFrame, Callable[[date], build_manifest.Spans]]:
    """Return the rows of `start` to `end`, and a function from a day to the days it depends on.

    A long range reads more days than any single day of it. A second call for the last day alone
    shows whether the first day read moves with the range or is fixed.
    """
    whole: DaysRead = {}
    rows = compute(_recording_reader(data, whole), start, end)
    last = whole
    if start != end:
        last = {}
        compute(_recording_reader(data, last), end, end)

    def days_read(day: date) -> build_manifest.Spans:
        spans = {}
        for feed, (since, until) in whole.items():
            moves = feed in last and end - last[feed][0] == start - since
            first = day - (start - since) if moves else since
            spans[feed] = first.isoformat(), (day + (until - end)).isoformat()
        return spans

    return rows, days_read


def record_late_publication(data: Path, hour: datetime, published: datetime) -> None:
    """Record that the features of `hour` became visible at `published`, later than planned.

    Otherwise a training would see rows that no request could have seen. Call this before you build
    the day's tables.
    """
    target = partitions.partition_path(data, *PUBLICATIONS, hour.astimezone(UTC).date())
    rows = pd.DataFrame(
        {"event_timestamp": [pd.Timestamp(hour)], "published_at": [pd.Timestamp(published)]}
    )
    if target.exists():
        rows = pd.concat([pd.read_parquet(target), rows]).drop_duplicates("event_timestamp")
    partitions.write_partition(rows.sort_values("event_timestamp", ignore_index=True), target)


def late_publications(data: Path) -> pd.Series[pd.Timestamp]:
    """Return when late hours became visible (UTC), indexed by hour (UTC)."""
    late = partitions.read_days(data, *PUBLICATIONS, date.min, date.max)
    if late.empty:
        return pd.Series(dtype="datetime64[us, UTC]", index=pd.DatetimeIndex([], tz="UTC"))
    return late.set_index("event_timestamp")["published_at"]


def publication_times(
    events: pd.Series[pd.Timestamp], lag: timedelta, late: pd.Series[pd.Timestamp]
) -> pd.Series[pd.Timestamp]:
    """Return when rows with these event times were published: as planned, or later as in `late`."""
    planned = (events + lag).astype("datetime64[us, UTC]")
    if late.empty:  # usually; the lookup takes as long as the tables
        return planned
    actual = events.map(late)
    return planned.mask(actual > planned, actual)


def _recording_reader(data: Path, days_read: DaysRead) -> Read:
    """Return a reader of validated rows that records the requested days in `days_read`."""

    def read(feed: str, first: date, last: date) -> pd.DataFrame:
        before = days_read.get(feed, (first, last))
        days_read[feed] = min(first, before[0]), max(last, before[1])
        return partitions.read_days(data, "validated", feed, first, last)

    return read


def _consecutive(days: Sequence[date]) -> list[list[date]]:
    """Split sorted days into runs of consecutive days."""
    # Within a run, a day minus its position is constant.
    runs = itertools.groupby(enumerate(days), lambda each: each[1] - each[0] * DAY)
    return [[day for _, day in run] for _, run in runs]
