"""Compacts closed segments of the prediction log into Parquet. Loses and doubles no record.

A file names its segments and is complete before they are removed. So the next compaction finishes
one that was killed at any point, and readers can go on meanwhile.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from contract import UseCase
from features import durable_files, locks
from serving.prediction_log import parquet_files, records, segments
from settings import LoopError, UserError

BATCH_BYTES = 128 << 20  # of segments that become one file; has to fit into memory


def compact_log(use_case: UseCase, folder: Path) -> dict[str, int]:
    """Turn the closed segments in `folder` into Parquet files; return counts.

    Counts the removed `segments`, the new `files`, their `records`, and what was left out:
    `duplicates` (a request logged again) and `torn_lines` (never acknowledged). Raises `UserError`
    if another compaction runs, `LoopError` if the disk fails. A segment with a line that is not a
    record stays; `LoopError` reports it once the others are done.
    """
    names = ("segments", "files", "records", "duplicates", "torn_lines")
    done = Counter(dict.fromkeys(names, 0))
    if not folder.is_dir():
        return done
    broken: list[str] = []
    with compaction_lock(folder):
        durable_files.remove_unfinished(folder)
        done["segments"] += _remove_compacted(folder)
        for batch in _batches(use_case, folder, broken):
            done.update(_compact(use_case, folder, batch))
    if broken:
        raise LoopError(
            f"{len(broken)} of {len(broken) + done['segments']} segments in {folder} could not be "
            f"compacted. {' '.join(broken)}"
        )
    return done


def _remove_compacted(folder: Path) -> int:
    """Remove segments that a file holds: their compaction was killed before it removed them."""
    summaries = [summary for _, summary in parquet_files.read_summaries(folder)]
    compacted = [folder / name for summary in summaries for name in summary.segments]
    left = [path for path in compacted if path.exists()]
    for path in left:
        path.unlink()
    return len(left)


def _batches(
    use_case: UseCase, folder: Path, broken: list[str]
) -> Iterator[list[records.SegmentRecords]]:
    """Yield the closed segments in batches; append the errors of malformed ones to `broken`."""
    batch, size = [], 0
    for path in sorted(folder.glob(f"*{segments.SEGMENT_SUFFIX}")):
        content = segments.read_closed_segment(path)
        if not content:
            continue  # still being written, or empty and now removed
        try:
            batch.append(records.parse_segment(use_case, path, content))
        except LoopError as error:
            broken.append(str(error))
            continue
        size += len(content)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _compact(
    use_case: UseCase, folder: Path, batch: list[records.SegmentRecords]
) -> dict[str, int]:
    table, duplicates = records.merge_records(use_case, (segment.table for segment in batch))
    torn_lines = sum(segment.torn for segment in batch)
    names = [segment.name for segment in batch]
    summary = parquet_files.FileSummary(names, torn_lines, duplicates)
    target = folder / Path(batch[0].name).with_suffix(parquet_files.PARQUET_SUFFIX)
    parquet_files.write_parquet_file(target, table, summary)
    for name in names:
        (folder / name).unlink()
    durable_files.sync(folder)
    return {
        "segments": len(batch), "files": 1, "records": len(table), "duplicates": duplicates,
        "torn_lines": torn_lines,
    }  # fmt: skip


def compaction_lock(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder's lock. Raises `UserError` if another compaction holds it."""
    lock = folder / "compaction.lock"
    return locks.hold_lock(lock, 0.0, refused=UserError, what="Another compaction")
