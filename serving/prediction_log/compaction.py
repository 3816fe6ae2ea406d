"""Which segments of the prediction log become Parquet now, with nothing lost or counted twice?

A file is there, whole, before its segments go, and names them. So a compaction that was killed
anywhere is put right by the next one, and readers may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa

from features import durable_files, locks
from serving.prediction_log import json_lines, parquet_files, records, segments
from settings import LoopError, UserError

BATCH_BYTES = 128 << 20  # bytes of segments that become one file: what has to fit into memory


def compact_log(folder: Path) -> dict[str, int]:
    """Turns the closed segments in `folder` into Parquet files; counts what it did.

    `segments` that are gone, `files` that they became, `records` in them, and what was left out:
    `duplicates` (a request logged again) and `torn_lines` (never acknowledged). Raises `UserError`
    if another compaction is at work here; `LoopError` if the disk refuses, or, once the others are
    done, for segments that hold a line that is no record: these stay as they are.
    """
    done = dict.fromkeys(("segments", "files", "records", "duplicates", "torn_lines"), 0)
    if not folder.is_dir():
        return done
    broken: list[str] = []
    with compaction_lock(folder):
        durable_files.remove_unfinished(folder)
        done["segments"] += _remove_held(folder)
        for batch in _batches(folder, broken):
            for name, count in _compact(folder, batch).items():
                done[name] += count
    if broken:
        raise LoopError(
            f"{len(broken)} segments are left as they are, {done['segments']} were compacted. "
            + " ".join(broken)
        )
    return done


def _remove_held(folder: Path) -> int:
    """Removes the segments of files that are there: their compaction was killed before it could."""
    held = {name for _, note in parquet_files.read_summaries(folder) for name in note.segments}
    left = [path for path in folder.glob(f"*{segments.SEGMENT_SUFFIX}") if path.name in held]
    for path in left:
        path.unlink()
    return len(left)


def _batches(folder: Path, broken: list[str]) -> Iterator[list[records.SegmentRecords]]:
    """The closed segments, some at a time; what is wrong with the others goes to `broken`."""
    batch, size = [], 0
    for path in sorted(folder.glob(f"*{segments.SEGMENT_SUFFIX}")):
        content = segments.read_closed_segment(path)
        if not content:
            continue  # still written to, or empty and gone
        try:
            batch.append(records.parse_segment(path, content))
        except LoopError as error:
            broken.append(str(error))
            continue
        size += len(content)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _compact(folder: Path, batch: list[records.SegmentRecords]) -> dict[str, int]:
    table = json_lines.merge_tables([segment.table for segment in batch]).sort_by("logged_at")
    again = table["request_id"].to_pandas().duplicated()
    table = table.filter(pa.array(~again))
    times = table["decision_time"].to_pandas()
    note = parquet_files.FileSummary(
        segments=[segment.name for segment in batch],
        torn_lines=sum(segment.torn for segment in batch), duplicates=int(again.sum()),
        first=times.min().isoformat() if len(times) else None,
        last=times.max().isoformat() if len(times) else None,
    )  # fmt: skip
    target = folder / Path(batch[0].name).with_suffix(parquet_files.PARQUET_SUFFIX)
    parquet_files.write_parquet_file(target, table, note)
    for segment in batch:
        (folder / segment.name).unlink()
    durable_files.sync(folder)
    return {
        "segments": len(batch), "files": 1, "records": len(table),
        "duplicates": note.duplicates, "torn_lines": note.torn_lines,
    }  # fmt: skip


def compaction_lock(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder's lock. Raises `UserError` if another compaction holds it."""
    lock = folder / "compaction.lock"
    return locks.hold_lock(lock, 0.0, refused=UserError, what="Another compaction")
