"""Accepted batches: from which raw rows and by which rules each was judged, and what it replaced.

Both are noted in the validated partition itself, so that a day is old or new, never half of each.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from features import column_types, durable_files, partitions
from settings import Settings
from usecase import source

if TYPE_CHECKING:
    from pipelines.ingestion.batch_checks import RowReasons

REPLACED_FOLDER = "replaced"  # data/replaced/<UTC time>/<layer>/<feed>/<day>: what stood until then


class DaysToRecheck(NamedTuple):
    """The accepted days that are to be judged again."""

    restated: list[date]  # their raw rows are not those that were judged
    outdated: list[date]  # judged by other rules, or by a version that noted neither


def rules_digest() -> str:
    """A digest of the code that says which rows are accepted, and in which types."""
    code = Path(source.__file__).parent
    return partitions.recipe_digest(code / "schema.py", code / "expectations.py")


def days_to_recheck(data: Path, feed: str, days: list[date], rules: str) -> DaysToRecheck:
    """Those of the accepted `days` whose raw rows or rules have changed since they were judged.

    A day without raw rows stays as it is.
    """
    found = DaysToRecheck([], [])
    for day in days:
        raw = partitions.partition_path(data, "raw", feed, day)
        if not raw.exists():
            continue
        note = partitions.partition_note(partitions.partition_path(data, "validated", feed, day))
        if "raw" in note and note["raw"] != partitions.partition_digest(raw):
            found.restated.append(day)
        elif note.get("rules") != rules:
            found.outdated.append(day)
    return found


def store_batch(
    data: Path, feed: str, day: date, table: pa.Table, reasons: RowReasons, rules: str
) -> None:
    """Stores a judged batch: its broken rows in quarantine, then the others as validated.

    What it replaces is kept, if other rows stood there.
    """
    raw = partitions.partition_digest(partitions.partition_path(data, "raw", feed, day))
    good = table.filter(pa.array([row not in reasons for row in range(table.num_rows)], pa.bool_()))
    validated = partitions.partition_path(data, "validated", feed, day)
    judged = partitions.partition_note(validated).get("raw", raw) if validated.exists() else None
    if judged and (judged != raw or not _continues(partitions.read_partition(validated), good)):
        keep_replaced(data, feed, day, "validated", "quarantine")
    quarantine = partitions.partition_path(data, "quarantine", feed, day)
    if reasons:
        bad = sorted(reasons)
        told = ["; ".join(f"{rule} ({seen})" for rule, seen in reasons[row].items()) for row in bad]
        partitions.write_partition(
            table.take(bad).append_column("reasons", pa.array(told)), quarantine
        )
    else:
        quarantine.unlink(missing_ok=True)
    if judged != raw:
        # A batch that was refused before is mended now; what is left in refused/ is still open.
        partitions.partition_path(data, "quarantine", f"refused/{feed}", day).unlink(
            missing_ok=True
        )
    # Last, since it marks the batch as done: a run that dies before it judges the batch again.
    partitions.write_partition(good, validated, note={"raw": raw, "rules": rules})


def refuse_batch(data: Path, feed: str, day: date) -> Path:
    """Moves a refused raw batch out of the way; returns where it lies now.

    If the day was accepted before, the raw rows that were judged then are put back, if they were
    kept; otherwise `mlops ingest` fetches the day again.
    """
    target = partitions.partition_path(data, "quarantine", f"refused/{feed}", day)
    raw = partitions.partition_path(data, "raw", feed, day)
    durable_files.write_file(target, raw.read_bytes())
    judged = _kept(data, feed, day)
    if judged is None:
        raw.unlink()
    else:
        durable_files.write_file(raw, judged.read_bytes())
        judged.unlink()  # it is not replaced, after all
    return target


def keep_replaced(data: Path, feed: str, day: date, *layers: str) -> None:
    """Copies the partitions of a day that are about to be replaced, with the time (UTC)."""
    # Copied, not linked: what a person writes into the old file must not reach this one.
    now = datetime.now(UTC)
    for layer in layers:
        old = partitions.partition_path(data, layer, feed, day)
        if old.exists():
            folder = data / REPLACED_FOLDER / f"{now:%Y%m%dT%H%M%S.%fZ}"
            durable_files.write_file(
                partitions.partition_path(folder, layer, feed, day), old.read_bytes()
            )


def count_quarantined_rows(settings: Settings) -> int:
    """Rows in quarantine, over all feeds and days."""
    files = (settings.data / "quarantine").glob("[!r]*/*.parquet")
    return sum(partitions.n_rows(file) for file in files)


def _kept(data: Path, feed: str, day: date) -> Path | None:
    """The kept raw rows from which the accepted batch of a day was judged."""
    validated = partitions.partition_path(data, "validated", feed, day)
    if not validated.exists():
        return None
    judged = partitions.partition_note(validated).get("raw")
    found = (data / REPLACED_FOLDER).glob(f"*/raw/{feed}/{day.isoformat()}{partitions.SUFFIX}")
    return next(
        (path for path in sorted(found) if partitions.partition_digest(path) == judged), None
    )


def _continues(old: pa.Table, new: pa.Table) -> bool:
    """Whether `new` holds the values of `old` in the columns that both have."""
    both = pa.schema([field for field in new.schema if field.name in old.schema.names])
    try:
        return bool(column_types.widen(old, both).equals(new.select(both.names)))
    except ValueError:
        return False
