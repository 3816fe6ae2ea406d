"""The build manifest: the inputs of each day of each feature table, and whether they have changed.

`features/BUILT` (JSON) holds for each day which days of which feeds it was computed from, and
a digest of their content. This module does not import Feast. Days are ISO dates.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from contract import UseCase
from features import durable_files, partitions, used_code

MANIFEST_FILE = "BUILT"
PUBLICATIONS = ("raw", "publications")
FEATURE_CODE = ("schema", "spine", "labels", "tables", "views")  # methods of a use case
Spans = Mapping[str, tuple[str, str] | list[str]]  # by feed: first and last day, both included
PartitionDigests = Mapping[str, Mapping[date, str]]  # by feed and day: of a validated partition


def definitions_version(use_case: UseCase) -> str:
    """Return a digest of the code that defines and computes the features."""
    return used_code.methods_digest(use_case, FEATURE_CODE)


def build_recipe(use_case: UseCase, lag: timedelta) -> str:
    """Return a digest of the tables' code and of the lag."""
    return partitions.recipe_digest(definitions_version(use_case), str(lag))


def read_manifest(data: Path) -> dict[str, Any]:
    """Return `recipe` and `tables`; empty if unknown."""
    stored = durable_files.read_json(data / "features" / MANIFEST_FILE)
    empty = {"recipe": "", "tables": {}}
    return stored if isinstance(stored, dict) and stored.keys() == empty.keys() else empty


def write_manifest(data: Path, manifest: Mapping[str, Any]) -> None:
    target = data / "features" / MANIFEST_FILE
    durable_files.write_json(target, manifest, indent=None, sort_keys=True)


def partition_digests(use_case: UseCase, data: Path) -> PartitionDigests:
    """Return the digest of each validated partition and each record of late publications."""
    return {
        table: {
            day: partitions.recipe_digest(partitions.partition_path(data, layer, table, day))
            for day in partitions.partition_days(data, layer, table)
        }
        for layer, table in [*(("validated", feed) for feed in use_case.feeds), PUBLICATIONS]
    }


def is_day_current(
    data: Path, entries: Mapping[str, Any], inputs: PartitionDigests, table: str, day: date
) -> bool:
    """Return whether the day's partition of `table` exists and was built from these `inputs`."""
    entry = entries.get(day.isoformat())
    if entry is None:
        return False
    # A day without rows has no file.
    path = partitions.partition_path(data, "features", table, day)
    is_stored = path.exists() == entry["rows"]
    return is_stored and entry["digest"] == inputs_digest(inputs, entry["read"], day)


def inputs_digest(inputs: PartitionDigests, spans: Spans, day: date) -> str:
    """Return a digest of a day's inputs: its batches, and when its hours were published."""
    days = {
        feed: (date.fromisoformat(first), date.fromisoformat(last))
        for feed, (first, last) in spans.items()
    }
    # The last hour of a day ends at the start of the next day.
    days[PUBLICATIONS[1]] = day, day + timedelta(days=1)
    lines = [
        f"{feed} {each} {digest}"
        for feed, (first, last) in sorted(days.items())
        for each, digest in inputs.get(feed, {}).items()
        if first <= each <= last
    ]
    return partitions.recipe_digest("\n".join(lines))


def tables_version(data: Path, until: date) -> dict[str, str]:
    """Return the newest day built up to `until`, and a digest of all tables up to that day.

    A publication stores it. A later difference for the same day means that rows were replaced.
    """
    manifest = read_manifest(data)
    built = sorted(
        (table, day, entry["digest"])
        for table, entries in manifest["tables"].items()
        for day, entry in entries.items()
        if day <= until.isoformat()
    )
    lines = [manifest["recipe"], *(" ".join(each) for each in built)]
    return {
        "day": max((day for _, day, _ in built), default=""),
        "digest": partitions.recipe_digest("\n".join(lines)),
    }


def tables_replaced_since(data: Path, published: Mapping[str, str] | None) -> bool:
    """Return whether tables have changed since `published`, a result of `tables_version`."""
    if published is None:
        return True
    day = published["day"]
    return bool(day) and tables_version(data, date.fromisoformat(day)) != published
