"""Store accepted batches with the raw rows and rules that they come from, and keep replaced ones.

The validated partition itself holds both digests, so a day is old or new, never half of each.
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

REPLACED_FOLDER = "replaced"  # data/replaced/<UTC time>/<layer>/<feed>/<day>: the replaced file


class DaysToRecheck(NamedTuple):
    """The accepted days that need another check."""

    restated: list[date]  # their raw rows changed after the check
    outdated: list[date]  # checked by other rules, or by a version that stored no digests


def rules_digest() -> str:
    """Return a digest of the code that decides which rows are accepted, and in which types."""
    code = Path(source.__file__).parent
    return partitions.recipe_digest(code / "schema.py", code / "expectations.py")


def days_to_recheck(data: Path, feed: str, days: list[date], rules: str) -> DaysToRecheck:
    """Return the accepted `days` whose raw rows or rules changed after their check.

    A day without raw rows needs no check.
    """
    recheck = DaysToRecheck([], [])
    for day in days:
        raw = partitions.partition_path(data, "raw", feed, day)
        if not raw.exists():
            continue
        note = partitions.partition_note(partitions.partition_path(data, "validated", feed, day))
        if "raw" in note and note["raw"] != partitions.recipe_digest(raw):
            recheck.restated.append(day)
        elif note.get("rules") != rules:
            recheck.outdated.append(day)
    return recheck


def store_batch(
    data: Path, feed: str, day: date, table: pa.Table, reasons: RowReasons, rules: str
) -> None:
    """Store a checked batch: its broken rows in quarantine, then the others as validated.

    Keep the partitions that it replaces if their rows differ.
    """
    raw = partitions.recipe_digest(partitions.partition_path(data, "raw", feed, day))
    good = table.filter(pa.array([row not in reasons for row in range(table.num_rows)], pa.bool_()))
    validated = partitions.partition_path(data, "validated", feed, day)
    earlier = partitions.partition_note(validated).get("raw", raw) if validated.exists() else None
    if earlier and (earlier != raw or not _same_values(partitions.read_partition(validated), good)):
        keep_replaced(data, feed, day, "validated", "quarantine")
    quarantine = partitions.partition_path(data, "quarantine", feed, day)
    if reasons:
        bad = sorted(reasons)
        texts = [
            "; ".join(f"{rule} ({values})" for rule, values in reasons[row].items()) for row in bad
        ]
        partitions.write_partition(
            table.take(bad).append_column("reasons", pa.array(texts)), quarantine
        )
    else:
        quarantine.unlink(missing_ok=True)
    if earlier != raw:
        # The source fixed this batch. A file that remains in refused/ still needs a decision.
        partitions.partition_path(data, "quarantine", f"refused/{feed}", day).unlink(
            missing_ok=True
        )
    # Last, because it marks the batch as done: a run that dies earlier checks the batch again.
    partitions.write_partition(good, validated, note={"raw": raw, "rules": rules})


def refuse_batch(data: Path, feed: str, day: date) -> Path:
    """Move a refused raw batch to the quarantine and return its new path.

    If the day has an accepted batch, restore the raw rows that it came from, if they were kept.
    Otherwise `mlops ingest` fetches the day again.
    """
    target = partitions.partition_path(data, "quarantine", f"refused/{feed}", day)
    raw = partitions.partition_path(data, "raw", feed, day)
    durable_files.write_file(target, raw.read_bytes())
    accepted = _accepted_raw(data, feed, day)
    if accepted is None:
        raw.unlink()
    else:
        durable_files.write_file(raw, accepted.read_bytes())
        accepted.unlink()  # no longer replaced
    return target


def keep_replaced(data: Path, feed: str, day: date, *layers: str) -> None:
    """Copy the partitions of a day, before their replacement, to a folder named by UTC time."""
    # Copied, not linked: an edit of the old file in place must not change the copy.
    now = datetime.now(UTC)
    for layer in layers:
        old = partitions.partition_path(data, layer, feed, day)
        if old.exists():
            folder = data / REPLACED_FOLDER / f"{now:%Y%m%dT%H%M%S.%fZ}"
            durable_files.write_file(
                partitions.partition_path(folder, layer, feed, day), old.read_bytes()
            )


def count_quarantined_rows(settings: Settings) -> int:
    """Count the quarantined rows over all feeds and days."""
    files = (settings.data / "quarantine").glob("[!r]*/*.parquet")
    return sum(partitions.n_rows(file) for file in files)


def _accepted_raw(data: Path, feed: str, day: date) -> Path | None:
    """Return the kept raw file that the accepted batch of a day came from, if there is one."""
    validated = partitions.partition_path(data, "validated", feed, day)
    if not validated.exists():
        return None
    digest = partitions.partition_note(validated).get("raw")
    kept = (data / REPLACED_FOLDER).glob(f"*/raw/{feed}/{day.isoformat()}{partitions.SUFFIX}")
    return next((path for path in sorted(kept) if partitions.recipe_digest(path) == digest), None)


def _same_values(old: pa.Table, new: pa.Table) -> bool:
    """Return whether `new` holds the values of `old` in the columns that both have."""
    both = pa.schema([field for field in new.schema if field.name in old.schema.names])
    try:
        return bool(column_types.widen(old, both).equals(new.select(both.names)))
    except ValueError:
        return False
