"""What the feature tables were built from, by table and day, and whether that has changed.

The note beside the tables holds for each day the days of each feed that it was computed from, and
a digest of their content. Read here without Feast.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import usecase
from features import durable_files, partitions

MANIFEST_FILE = "BUILT"
PUBLICATIONS = ("raw", "publications")
FEATURE_CODE = (
    "columns.py", "feature_views.py", "schema.py", "statements.py", "target.py", "windows.py",
)  # fmt: skip
Span = tuple[date, date]  # first and last day, both included
PartitionDigests = Mapping[
    str, Mapping[date, str]
]  # by feed and day the digest of a validated partition


def build_recipe(data: Path, lag: timedelta) -> str:
    """A digest of what makes the tables: their code, the lag, and the rules that rows passed."""
    code = [Path(usecase.__file__).parent / name for name in FEATURE_CODE]
    rules = data / "validated" / partitions.RECIPE  # rows judged by other rules are other rows
    return partitions.recipe_digest(*code, str(lag), rules.read_text() if rules.exists() else "")


def is_up_to_date(data: Path, as_of: datetime, lag: timedelta) -> bool:
    """Whether all tables are built from the batches before `as_of` as they are, by this recipe."""
    note = read_manifest(data)
    if note["recipe"] != build_recipe(data, lag) or not note["feeds"]:
        return False
    now, until = partition_digests(data), as_of.astimezone(UTC).date()
    return all(
        is_day_current(data, note, now, table, day)
        for table, feed in note["feeds"].items()
        for day in now.get(feed, ())
        if day < until
    )


def read_manifest(data: Path) -> dict[str, Any]:
    """The note: `build_recipe`, the `feeds` that make tables due, and `tables`; empty if
    unknown.
    """
    found = durable_files.read_json(data / "features" / MANIFEST_FILE)
    empty = {"recipe": "", "feeds": {}, "tables": {}}
    return found if isinstance(found, dict) and found.keys() == empty.keys() else empty


def write_manifest(data: Path, note: Mapping[str, Any]) -> None:
    """Replaces the note."""
    durable_files.write_json(data / "features" / MANIFEST_FILE, note, indent=None, sort_keys=True)


def partition_digests(data: Path) -> PartitionDigests:
    """The digest of each validated partition and each note of late publications, as they are."""
    folders = [folder for folder in (data / "validated").glob("*") if folder.is_dir()]
    layers = [("validated", folder.name) for folder in folders] + [PUBLICATIONS]
    return {
        name: {
            day: hashlib.sha256(
                partitions.partition_path(data, layer, name, day).read_bytes()
            ).hexdigest()
            for day in partitions.partition_days(data, layer, name)
        }
        for layer, name in layers
    }


def is_day_current(
    data: Path, note: Mapping[str, Any], now: PartitionDigests, table: str, day: date
) -> bool:
    """Whether the day's partition of `table` is there, built from what the feeds hold `now`."""
    entry = note["tables"].get(table, {}).get(day.isoformat())
    if entry is None:
        return False
    spans = {
        feed: (date.fromisoformat(first), date.fromisoformat(last))
        for feed, (first, last) in entry["read"].items()
    }
    there = partitions.partition_path(data, "features", table, day).exists() == entry["rows"]
    return there and entry["digest"] == inputs_digest(now, spans, day)


def manifest_entry(
    now: PartitionDigests, spans: Mapping[str, Span], day: date, *, rows: bool
) -> dict[str, Any]:
    """What the note holds of a day that was built from `spans`; `rows`: whether it has any."""
    read = {feed: [first.isoformat(), last.isoformat()] for feed, (first, last) in spans.items()}
    return {"read": read, "digest": inputs_digest(now, spans, day), "rows": rows}


def inputs_digest(now: PartitionDigests, spans: Mapping[str, Span], day: date) -> str:
    """A digest of all that a day was made of: batches, and when its hours were published."""
    # The last hour of a day is the first of the next.
    asked = {**spans, PUBLICATIONS[1]: (day, day + timedelta(days=1))}
    lines = [
        f"{feed} {each} {now[feed][each]}"
        for feed, (first, last) in sorted(asked.items())
        for each in partitions.day_range(first, last + timedelta(days=1))
        if each in now.get(feed, {})
    ]
    return _digest(lines)


def tables_version(data: Path, until: date) -> dict[str, str]:
    """The newest day built up to `until`, and a digest of all tables up to it.

    A publication records it; if `tables_version` up to the same day differs later, rows were
    replaced.
    """
    note = read_manifest(data)
    days = [day for table in note["tables"].values() for day in table if day <= until.isoformat()]
    last = max(days, default="")
    lines = [
        f"{table} {day} {entry['digest']}"
        for table, entries in sorted(note["tables"].items())
        for day, entry in sorted(entries.items())
        if day <= last
    ]
    return {"day": last, "digest": _digest([note["recipe"], *lines])}


def tables_replaced_since(data: Path, published: Mapping[str, str] | None) -> bool:
    """Whether tables have changed up to the day that `published` (see `tables_version`) speaks
    of.
    """
    if published is None:
        return True
    day = published["day"]
    return bool(day) and tables_version(data, date.fromisoformat(day)) != dict(published)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
