"""The build manifest: the inputs of each day of each feature table, and whether they have changed.

`data/features/BUILT` (JSON) holds for each day which days of which feeds it was computed from, and
a digest of their content. This module does not import Feast.
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
# By feed and day, the digest of a validated partition.
PartitionDigests = Mapping[str, Mapping[date, str]]


def build_recipe(data: Path, lag: timedelta) -> str:
    """Return a digest of the tables' code, the lag, and the rules that their rows passed."""
    code = [Path(usecase.__file__).parent / name for name in FEATURE_CODE]
    rules = data / "validated" / partitions.RECIPE  # other rules let other rows pass
    return partitions.recipe_digest(*code, str(lag), rules.read_text() if rules.exists() else "")


def is_up_to_date(data: Path, as_of: datetime, lag: timedelta) -> bool:
    """Return whether this recipe built all tables from the current batches before `as_of`."""
    manifest = read_manifest(data)
    if manifest["recipe"] != build_recipe(data, lag) or not manifest["feeds"]:
        return False
    inputs, until = partition_digests(data), as_of.astimezone(UTC).date()
    return all(
        is_day_current(data, manifest, inputs, table, day)
        for table, feed in manifest["feeds"].items()
        for day in inputs.get(feed, ())
        if day < until
    )


def read_manifest(data: Path) -> dict[str, Any]:
    """Return `recipe`, `tables`, and the `feeds` that make tables due; empty if unknown."""
    stored = durable_files.read_json(data / "features" / MANIFEST_FILE)
    empty = {"recipe": "", "feeds": {}, "tables": {}}
    return stored if isinstance(stored, dict) and stored.keys() == empty.keys() else empty


def write_manifest(data: Path, manifest: Mapping[str, Any]) -> None:
    target = data / "features" / MANIFEST_FILE
    durable_files.write_json(target, manifest, indent=None, sort_keys=True)


def partition_digests(data: Path) -> PartitionDigests:
    """Return the digest of each validated partition and each record of late publications."""
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
    data: Path, manifest: Mapping[str, Any], inputs: PartitionDigests, table: str, day: date
) -> bool:
    """Return whether the day's partition of `table` exists and was built from these `inputs`."""
    entry = manifest["tables"].get(table, {}).get(day.isoformat())
    if entry is None:
        return False
    spans = {
        feed: (date.fromisoformat(first), date.fromisoformat(last))
        for feed, (first, last) in entry["read"].items()
    }
    # A day without rows has no file.
    complete = partitions.partition_path(data, "features", table, day).exists() == entry["rows"]
    return complete and entry["digest"] == inputs_digest(inputs, spans, day)


def manifest_entry(
    inputs: PartitionDigests, spans: Mapping[str, Span], day: date, *, rows: bool
) -> dict[str, Any]:
    """Return the entry of a day that was built from `spans`; `rows`: whether it has any rows."""
    read = {feed: [first.isoformat(), last.isoformat()] for feed, (first, last) in spans.items()}
    return {"read": read, "digest": inputs_digest(inputs, spans, day), "rows": rows}


def inputs_digest(inputs: PartitionDigests, spans: Mapping[str, Span], day: date) -> str:
    """Return a digest of a day's inputs: its batches, and when its hours were published."""
    # The last hour of a day ends at the start of the next day.
    spans = {**spans, PUBLICATIONS[1]: (day, day + timedelta(days=1))}
    lines = [
        f"{feed} {each} {inputs[feed][each]}"
        for feed, (first, last) in sorted(spans.items())
        for each in partitions.day_range(first, last + timedelta(days=1))
        if each in inputs.get(feed, {})
    ]
    return _digest(lines)


def tables_version(data: Path, until: date) -> dict[str, str]:
    """Return the newest day built up to `until`, and a digest of all tables up to that day.

    A publication stores it. A later difference for the same day means that rows were replaced.
    """
    manifest = read_manifest(data)
    built = [
        day
        for entries in manifest["tables"].values()
        for day in entries
        if day <= until.isoformat()
    ]
    last = max(built, default="")
    lines = [
        f"{table} {day} {entry['digest']}"
        for table, entries in sorted(manifest["tables"].items())
        for day, entry in sorted(entries.items())
        if day <= last
    ]
    return {"day": last, "digest": _digest([manifest["recipe"], *lines])}


def tables_replaced_since(data: Path, published: Mapping[str, str] | None) -> bool:
    """Return whether tables have changed since `published`, a result of `tables_version`."""
    if published is None:
        return True
    day = published["day"]
    return bool(day) and tables_version(data, date.fromisoformat(day)) != dict(published)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
