"""What is a record of the prediction log, and which does a segment hold?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from serving.prediction_log import json_lines, segments
from settings import LoopError

TIME_COLUMNS = ("decision_time", "features_as_of", "logged_at")
COLUMNS = (
    "request_id", "key", "probability", "decision", "model_version", "model_digest", *TIME_COLUMNS,
)  # fmt: skip
UTC_TIMESTAMP = pa.timestamp("us", tz="UTC")
EMPTY_SCHEMA = pa.schema(
    [(column, UTC_TIMESTAMP if column in TIME_COLUMNS else pa.null()) for column in COLUMNS]
)


@dataclass(frozen=True)
class SegmentRecords:
    """The records of a segment, with `TIME_COLUMNS` as timestamps; `torn` if its last line lacks
    an end.

    Such a line was never acknowledged, and is left out.
    """

    name: str
    table: pa.Table
    torn: bool


def read_segments(folder: Path) -> list[SegmentRecords]:
    """What the segments hold now, open or closed. Raises `LoopError` if one can't be parsed."""
    found = []
    for path in sorted(folder.glob(f"*{segments.SEGMENT_SUFFIX}")):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # compacted since it was listed
        found.append(parse_segment(path, content))
    return found


def parse_segment(path: Path, content: bytes) -> SegmentRecords:
    """Raises `LoopError` if `content` has a whole line that is not a record."""
    whole = content[: content.rfind(b"\n") + 1]
    try:
        table = json_lines.parse_json_lines(whole) if whole else EMPTY_SCHEMA.empty_table()
        if absent := set(COLUMNS) - set(table.column_names):
            raise pa.ArrowInvalid(f"records without {sorted(absent)}")
        for column in TIME_COLUMNS:
            # By way of text: a bare number would pass for a time.
            times = table[column].cast(pa.string()).cast(UTC_TIMESTAMP)
            table = table.set_column(table.column_names.index(column), column, times)
    except pa.ArrowInvalid as error:
        raise LoopError(
            f"{path} holds a line that is not a record ({error}). Something else wrote to it or "
            "the disk is faulty: restore the file, or move it away and lose its records."
        ) from error
    return SegmentRecords(path.name, table, torn=len(whole) < len(content))
