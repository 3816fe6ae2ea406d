"""What does a compacted file of the prediction log hold, and how is it written and read?

A Parquet file whose footer says which segments it holds: a segment that it names counts no more,
whether it is still there or not. So a file can be there whole before its segments go.
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
ROW_GROUP_ROWS = 1 << 16  # of a row group: the piece that a reader of a time range can leave out


@dataclass(frozen=True)
class FileSummary:
    """What a file says of itself: its segments, what was left out of them, its decision times."""

    segments: list[str]
    torn_lines: int
    duplicates: int
    first: str | None  # ISO 8601; None if it has no rows
    last: str | None

    def overlaps(self, since: datetime | None, until: datetime | None) -> bool:
        """Whether a decision time of the file may fall in [since, until)."""
        if self.first is None or self.last is None:
            return False
        return (since is None or datetime.fromisoformat(self.last) >= since) and (
            until is None or datetime.fromisoformat(self.first) < until
        )


def write_parquet_file(target: Path, table: pa.Table, note: FileSummary) -> None:
    """Makes `target`, read back and on the disk, or leaves nothing and raises `LoopError`."""
    table = table.replace_schema_metadata({FOOTER_KEY: json.dumps(asdict(note))})
    try:
        with durable_files.atomic_replace(target) as unfinished:
            pq.write_table(table, unfinished, compression="zstd", row_group_size=ROW_GROUP_ROWS)
            if not pq.read_table(unfinished, partitioning=None).equals(table, check_metadata=True):
                raise LoopError(
                    f"{unfinished} does not hold what was written to it; the segments stay as "
                    "they are. Look at the disk, then compact again."
                )
    except (OSError, pa.ArrowException) as error:
        raise LoopError(
            f"{target} could not be written ({error}); the segments stay as they are. Free some "
            "space on the disk, then compact again."
        ) from error


def read_summaries(folder: Path) -> Iterator[tuple[Path, FileSummary]]:
    """Each file with what it says of itself. Raises `LoopError` if one can't be read."""
    for path in sorted(folder.glob(f"*{PARQUET_SUFFIX}")):
        try:
            metadata = pq.read_metadata(path).metadata or {}
            yield path, FileSummary(**json.loads(metadata[FOOTER_KEY]))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _unreadable(path, error) from error


def read_parquet_files(
    folder: Path, since: datetime | None, until: datetime | None
) -> tuple[list[pa.Table], list[FileSummary]]:
    """The rows whose decision time is in [since, until), and the notes of all files."""
    wanted = None
    if since is not None:
        wanted = pc.field("decision_time") >= since
    if until is not None:
        before = pc.field("decision_time") < until
        wanted = before if wanted is None else wanted & before
    tables, found = [], []
    for path, note in read_summaries(folder):
        found.append(note)
        if note.overlaps(since, until):
            try:
                tables.append(pq.read_table(path, filters=wanted, partitioning=None))
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(path, error) from error
    return tables, found


def _unreadable(path: Path, error: Exception) -> LoopError:
    return LoopError(
        f"{path} is not a file of the prediction log that can be read ({error!r}). Restore it, or "
        "move it away and lose its records."
    )
