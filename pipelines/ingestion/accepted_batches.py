"""Store accepted batches with the raw rows and rules that they come from, and keep replaced ones.

The validated partition itself holds both digests, so a day is old or new, never half of each.
"""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from contract import UseCase
from features import column_types, durable_files, partitions, used_code
from settings import Settings

# By row number: the rules that a row breaks, each with the row's values.
RowReasons = dict[int, dict[str, str]]
REPLACED_FOLDER = "replaced"  # replaced/<UTC time>/<layer>/<feed>/<day>: the replaced file
RULE_CODE = ("schema", "checks", "row_rules")  # methods of a use case
RESTATEMENTS_FILE = "restated.json"  # in var/


def rules_digest(use_case: UseCase) -> str:
    """Return a digest of the code that decides which rows are accepted, and in which types."""
    return used_code.methods_digest(use_case, RULE_CODE)


def days_to_recheck(
    data: Path, feed: str, days: list[date], rules: str
) -> tuple[list[date], list[date]]:
    """Return the accepted `days` that need another check, in two lists.

    Those whose raw rows changed after the check, and those checked by other rules, or by a version
    that stored no digests. A day without raw rows needs no check.
    """
    restated, outdated = [], []
    for day in days:
        raw = partitions.partition_path(data, "raw", feed, day)
        if not raw.exists():
            continue
        note = partitions.partition_note(partitions.partition_path(data, "validated", feed, day))
        if "raw" in note and note["raw"] != partitions.recipe_digest(raw):
            restated.append(day)
        elif note.get("rules") != rules:
            outdated.append(day)
    return restated, outdated


def store_batch(
    data: Path, feed: str, day: date, table: pa.Table, reasons: RowReasons, rules: str
) -> None:
    """Store a checked batch: its broken rows in quarantine, then the others as validated.

    Keep the partitions that it replaces if their rows differ.
    """
    validated = partitions.partition_path(data, "validated", feed, day)
    quarantine = partitions.partition_path(data, "quarantine", feed, day)
    digest = partitions.recipe_digest(partitions.partition_path(data, "raw", feed, day))
    good = table.filter(pa.array([row not in reasons for row in range(table.num_rows)], pa.bool_()))
    earlier = None
    if validated.exists():
        earlier = partitions.partition_note(validated).get("raw", digest)
        if earlier != digest or not _same_values(partitions.read_partition(validated), good):
            keep_replaced(data, feed, day, "validated", "quarantine")
    if reasons:
        bad = sorted(reasons)
        texts = [
            "; ".join(f"{rule} ({values})" for rule, values in reasons[row].items()) for row in bad
        ]
        broken = table.take(bad).append_column("reasons", pa.array(texts))
        partitions.write_partition(broken, quarantine)
    else:
        quarantine.unlink(missing_ok=True)
    if earlier != digest:
        # The source fixed this batch. A file that remains in refused/ still needs a decision.
        refused = partitions.partition_path(data, "quarantine", f"refused/{feed}", day)
        refused.unlink(missing_ok=True)
    # Last, because it marks the batch as done: a run that dies earlier checks the batch again.
    partitions.write_partition(good, validated, note={"raw": digest, "rules": rules})


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
    folder = data / REPLACED_FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    for layer in layers:
        old = partitions.partition_path(data, layer, feed, day)
        if old.exists():
            copy = partitions.partition_path(folder, layer, feed, day)
            durable_files.write_file(copy, old.read_bytes())


def count_quarantined(settings: Settings) -> Counter[tuple[str, date]]:
    """Count the quarantined rows of each batch, by feed and day."""
    counts = Counter[tuple[str, date]]()
    data = settings.data
    for feed in settings.use_case.feeds:
        for day in partitions.partition_days(data, "quarantine", feed):
            path = partitions.partition_path(data, "quarantine", feed, day)
            counts[feed, day] = partitions.n_rows(path)
    return counts


def count_restatements(settings: Settings, feed: str, days: Collection[date]) -> int:
    """Count the validated rows of `days` whose key a batch of an earlier day also has."""
    data, key = settings.data, list(settings.use_case.feeds[feed])
    until = [day for day in partitions.partition_days(data, "validated", feed) if day <= max(days)]
    paths = [partitions.partition_path(data, "validated", feed, day) for day in until]
    tables = [partitions.read_partition(path, key) for path in paths]
    keys = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    batch = np.repeat(np.arange(len(until)), [table.num_rows for table in tables])
    key_ids = keys.groupby(key, sort=False).ngroup().to_numpy()  # -1: no key
    first = pd.Series(batch).groupby(key_ids).transform("min").to_numpy()
    requested = np.isin(batch, [number for number, day in enumerate(until) if day in set(days)])
    return int((requested & (batch > first) & (key_ids >= 0)).sum())


def record_restatements(settings: Settings, feed: str, days: Collection[date]) -> int:
    """Count the restatements of `days` and store the number for the metrics, if there are days."""
    if not days:
        return 0
    count = count_restatements(settings, feed, days)
    counts = read_restatements(settings) | {feed: count}
    durable_files.write_json(settings.state / RESTATEMENTS_FILE, counts)
    return count


def read_restatements(settings: Settings) -> dict[str, int]:
    """Return by feed the restatements in the batches that were validated last."""
    return durable_files.read_json(settings.state / RESTATEMENTS_FILE) or {}


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
