"""Writes and reads the Parquet files of the prediction log.

A file's footer names the segments that it holds. Readers ignore a named segment, whether or not it
still exists. So a file can be complete before its segments are removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import durable_files
from settings import LoopError

PARQUET_SUFFIX = ".parquet"
FOOTER_KEY = b"prediction_log"
ROW_GROUP_ROWS = 1 << 16  # a reader of a time range skips whole row groups


@dataclass(frozen=True)
class FileSummary:
    """A file's footer: its segments, what was left out of them, its range of decision times."""

    segments: list[str]
    torn_lines: int
    duplicates: int
    first: str | None  # ISO 8601; None if it has no rows
    last: str | None

    def overlaps(self, since: datetime | None, until: datetime | None) -> bool:
        """Return True if a decision time of the file may be in [since, until)."""
        if self.first is None or self.last is None:
            return False
        return (since is None or datetime.fromisoformat(self.last) >= since) and (
            until is None or datetime.fromisoformat(self.first) < until
        )


def decision_range(table: pa.Table) -> tuple[str | None, str | None]:
    """Return the first and last decision time as ISO 8601; None for no rows."""
    times = table["decision_time"].to_pandas()
    return (times.min().isoformat(), times.max().isoformat()) if len(times) else (None, None)


def write_parquet_file(target: Path, table: pa.Table, summary: FileSummary) -> None:
    """Write, sync and read back `target`. On failure, raise `LoopError` and leave no file."""
    table = table.replace_schema_metadata({FOOTER_KEY: json.dumps(asdict(summary))})
    try:
        with durable_files.atomic_replace(target) as unfinished:
            pq.write_table(table, unfinished, compression="zstd", row_group_size=ROW_GROUP_ROWS)
            if not pq.read_table(unfinished, partitioning=None).equals(table, check_metadata=True):
                raise LoopError(
                    f"{unfinished} does not hold what was written to it. The segments stay. Check "
                    "the disk, then compact again."
                )
    except (OSError, pa.ArrowException) as error:
        raise LoopError(
            f"{target} could not be written ({error}). The segments stay. Free some space on the "
            "disk, then compact again."
        ) from error


def read_summaries(folder: Path) -> Iterator[tuple[Path, FileSummary]]:
    """Yield each file with its summary. Raises `LoopError` if one can't be read."""
    for path in sorted(folder.glob(f"*{PARQUET_SUFFIX}")):
        try:
            metadata = pq.read_metadata(path).metadata or {}
            yield path, FileSummary(**json.loads(metadata[FOOTER_KEY]))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _unreadable(path, error) from error


def read_parquet_files(
    folder: Path, since: datetime | None, until: datetime | None
) -> tuple[list[pa.Table], list[FileSummary]]:
    """Return the rows decided in [since, until), and the summaries of all files."""
    filters = None
    if since is not None:
        filters = pc.field("decision_time") >= since
    if until is not None:
        before = pc.field("decision_time") < until
        filters = before if filters is None else filters & before
    tables, summaries = [], []
    for path, summary in read_summaries(folder):
        summaries.append(summary)
        if summary.overlaps(since, until):
            try:
                tables.append(pq.read_table(path, filters=filters, partitioning=None))
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(path, error) from error
    return tables, summaries


def _unreadable(path: Path, error: Exception) -> LoopError:
    return LoopError(
        f"{path} can't be read as a file of the prediction log ({error!r}). Restore it, or move it "
        "away and lose its records."
    )
