"""Erases predictions from the log: those before a time, or those of one value of a column.

Replaces whole Parquet files. A file keeps the names of its segments, so that erased records are not
read again from a segment. Open segments stay and are counted.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract import UseCase
from serving.prediction_log import compaction, parquet_files, segments
from settings import UserError


def expire_predictions(use_case: UseCase, folder: Path, before: datetime) -> dict[str, int]:
    """Erase predictions decided before `before` (aware); count `removed` rows, `open` segments."""
    if not folder.is_dir():
        return {"removed": 0, "open": 0}
    compaction.compact_log(use_case, folder)

    def is_newer(_: Path, summary: parquet_files.FileSummary) -> bool:
        return summary.first is None or datetime.fromisoformat(summary.first) >= before

    return _erase(folder, pc.field("decision_time") >= before, is_newer)


def forget_predictions(use_case: UseCase, folder: Path, column: str, value: str) -> dict[str, int]:
    """Erase the rows whose `column` (`key`, or `request.<field>`) is `value`. Counts likewise.

    Raises `UserError` if no file has that column: a typing error must not look like success.
    """
    compaction.compact_log(use_case, folder)  # first, closed segments become files

    def lacks_column(path: Path, _: object) -> bool:
        return column not in pq.read_schema(path).names

    if all(lacks_column(*file) for file in parquet_files.read_summaries(folder)):
        raise UserError(
            f"No file of the prediction log in {folder} has a column {column}. Nothing is erased. "
            "Use `key` or `request.<field>`."
        )
    field = pc.field(column)
    return _erase(folder, field.is_null() | (field.cast(pa.string()) != value), lacks_column)


def _erase(
    folder: Path, keep: pc.Expression, is_whole: Callable[[Path, parquet_files.FileSummary], bool]
) -> dict[str, int]:
    """Keep only the rows that `keep` selects. Files for which `is_whole` are not read."""
    removed = 0
    with compaction.compaction_lock(folder):
        for path, summary in list(parquet_files.read_summaries(folder)):
            if is_whole(path, summary):
                continue
            kept = pq.read_table(path, filters=keep, partitioning=None)
            erased = pq.read_metadata(path).num_rows - len(kept)
            if erased:
                removed += erased
                parquet_files.write_parquet_file(path, kept, summary)
    return {"removed": removed, "open": len(list(folder.glob(f"*{segments.SEGMENT_SUFFIX}")))}
