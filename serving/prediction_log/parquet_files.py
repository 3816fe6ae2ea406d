"""Writes and reads the Parquet files of the prediction log.

A file's footer names the segments that it holds. Readers ignore a named segment, whether or not it
still exists. So a file can be complete before its segments are removed.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
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
    first: str | None = None  # ISO 8601; None if it has no rows
    last: str | None = None


def write_parquet_file(target: Path, table: pa.Table, summary: FileSummary) -> None:
    """Write, sync and read back `target`. On failure, raise `LoopError` and leave no file.

    The range in the footer is that of `table`.
    """
    times = pc.min_max(table["decision_time"]).as_py()
    footer = asdict(summary) | {"first": times["min"], "last": times["max"]}
    text = json.dumps(footer, default=datetime.isoformat)
    table = table.replace_schema_metadata({FOOTER_KEY: text})
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
        with _readable(path):
            footer = (pq.read_metadata(path).metadata or {})[FOOTER_KEY]
        yield path, FileSummary(**json.loads(footer))


def read_parquet_files(
    folder: Path, since: datetime | None, until: datetime | None
) -> tuple[list[pa.Table], list[FileSummary]]:
    """Return the rows decided in [since, until), and the summaries of all files."""
    limits = (("decision_time", ">=", since), ("decision_time", "<", until))
    filters = [limit for limit in limits if limit[2] is not None] or None
    tables, summaries = [], []
    for path, summary in read_summaries(folder):
        summaries.append(summary)
        if summary.first is None or summary.last is None:
            continue  # it has no rows
        first, last = (datetime.fromisoformat(each) for each in (summary.first, summary.last))
        if (since is None or last >= since) and (until is None or first < until):
            with _readable(path):
                tables.append(pq.read_table(path, filters=filters, partitioning=None))
    return tables, summaries


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, KeyError) as error:
        raise LoopError(
            f"{path} can't be read as a file of the prediction log ({error!r}). Restore it, or "
            "move it away and lose its records."
        ) from error
