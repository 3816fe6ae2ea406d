"""What of the prediction log is to be kept no longer? By age, or because someone asks for it.

Only compacted files are changed, each replaced whole: the segments that it names stay named, so
that nothing that was taken out is counted again. Open segments are left, and told of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving.prediction_log import compaction, parquet_files, segments
from settings import UserError

RowSelector = Callable[[pa.Table], pa.Array]  # which rows go


def expire_predictions(folder: Path, before: datetime) -> dict[str, int]:
    """Removes what was decided before `before` (aware). Counts `removed`, and `open` segments."""
    if not folder.is_dir():
        return {"removed": 0, "open": 0}
    compaction.compact_log(folder)

    def spared(note: parquet_files.FileSummary) -> bool:
        return note.first is None or datetime.fromisoformat(note.first) >= before

    return _erase(folder, lambda table: pc.less(table["decision_time"], before), spared)


def forget_predictions(folder: Path, column: str, value: str) -> dict[str, int]:
    """Removes the rows whose `column` (`key`, or `request.<field>`) is `value`.

    Raises `UserError` if no file has that column: a slip of the pen must not look like success.
    """
    compaction.compact_log(folder)  # what is closed becomes files first
    seen = [
        column in pq.read_schema(path).names for path, _ in parquet_files.read_summaries(folder)
    ]
    if not any(seen):
        raise UserError(f"No file of the log in {folder} has a column {column}: nothing is erased.")

    def doomed(table: pa.Table) -> pa.Array:
        if column not in table.column_names:
            return pa.array([False] * len(table))
        return pc.fill_null(pc.equal(table[column].cast(pa.string()), value), False)

    return _erase(folder, doomed)


def _erase(
    folder: Path,
    doomed: RowSelector,
    spared: Callable[[parquet_files.FileSummary], bool] = lambda _: False,
) -> dict[str, int]:
    """A file whose note says that nothing of it goes, `spared`, is not read."""
    removed = 0
    with compaction.compaction_lock(folder):
        for path, note in list(parquet_files.read_summaries(folder)):
            if spared(note):
                continue
            table = pq.read_table(path, partitioning=None)
            kept = table.filter(pc.invert(doomed(table)))
            if len(kept) == len(table):
                continue
            removed += len(table) - len(kept)
            times = kept["decision_time"].to_pandas()
            first, last = (times.min(), times.max()) if len(times) else (None, None)
            parquet_files.write_parquet_file(
                path, kept,
                replace(
                    note, first=first.isoformat() if first is not None else None,
                    last=last.isoformat() if last is not None else None,
                ),
            )  # fmt: skip
    return {"removed": removed, "open": len(list(folder.glob(f"*{segments.SEGMENT_SUFFIX}")))}
