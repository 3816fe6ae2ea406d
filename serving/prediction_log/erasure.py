"""Erases predictions from the log: those before a time, or those of one value of a column.

Replaces whole Parquet files. A file keeps the names of its segments, so that erased records are not
read again from a segment. Open segments stay and are counted.
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

RowSelector = Callable[[pa.Table], pa.Array]  # True for the rows to erase


def expire_predictions(folder: Path, before: datetime) -> dict[str, int]:
    """Erase predictions decided before `before` (aware); count `removed` rows, `open` segments."""
    if not folder.is_dir():
        return {"removed": 0, "open": 0}
    compaction.compact_log(folder)

    def is_kept(summary: parquet_files.FileSummary) -> bool:
        return summary.first is None or datetime.fromisoformat(summary.first) >= before

    return _erase(folder, lambda table: pc.less(table["decision_time"], before), is_kept)


def forget_predictions(folder: Path, column: str, value: str) -> dict[str, int]:
    """Erase the rows whose `column` (`key`, or `request.<field>`) is `value`. Counts likewise.

    Raises `UserError` if no file has that column: a typing error must not look like success.
    """
    compaction.compact_log(folder)  # first, closed segments become files
    has_column = [
        column in pq.read_schema(path).names for path, _ in parquet_files.read_summaries(folder)
    ]
    if not any(has_column):
        raise UserError(
            f"No file of the prediction log in {folder} has a column {column}. Nothing is erased. "
            "Use `key` or `request.<field>`."
        )

    def select(table: pa.Table) -> pa.Array:
        if column not in table.column_names:
            return pa.array([False] * len(table))
        return pc.fill_null(pc.equal(table[column].cast(pa.string()), value), False)

    return _erase(folder, select)


def _erase(
    folder: Path,
    select: RowSelector,
    is_kept: Callable[[parquet_files.FileSummary], bool] = lambda _: False,
) -> dict[str, int]:
    """Erase the selected rows. A file whose summary shows that it keeps all rows is not read."""
    removed = 0
    with compaction.compaction_lock(folder):
        for path, summary in list(parquet_files.read_summaries(folder)):
            if is_kept(summary):
                continue
            table = pq.read_table(path, partitioning=None)
            kept = table.filter(pc.invert(select(table)))
            if len(kept) == len(table):
                continue
            removed += len(table) - len(kept)
            first, last = parquet_files.decision_range(kept)
            parquet_files.write_parquet_file(path, kept, replace(summary, first=first, last=last))
    return {"removed": removed, "open": len(list(folder.glob(f"*{segments.SEGMENT_SUFFIX}")))}
