"""The records of the prediction log: their columns, and how a segment is parsed."""

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
    """The records of a segment, with `TIME_COLUMNS` as timestamps.

    `torn`: its last line has no end. It was never acknowledged and is left out.
    """

    name: str
    table: pa.Table
    torn: bool


def read_segments(folder: Path) -> list[SegmentRecords]:
    """Read all segments, open and closed. Raises `LoopError` if one can't be parsed."""
    parsed = []
    for path in sorted(folder.glob(f"*{segments.SEGMENT_SUFFIX}")):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # compacted since the listing
        parsed.append(parse_segment(path, content))
    return parsed


def parse_segment(path: Path, content: bytes) -> SegmentRecords:
    """Parse a segment. Raises `LoopError` if a whole line is not a record."""
    whole = content[: content.rfind(b"\n") + 1]
    try:
        table = json_lines.parse_json_lines(whole) if whole else EMPTY_SCHEMA.empty_table()
        if absent := set(COLUMNS) - set(table.column_names):
            raise pa.ArrowInvalid(f"records without {sorted(absent)}")
        for column in TIME_COLUMNS:
            # Through text, since a bare number would be accepted as a time.
            times = table[column].cast(pa.string()).cast(UTC_TIMESTAMP)
            table = table.set_column(table.column_names.index(column), column, times)
    except pa.ArrowInvalid as error:
        raise LoopError(
            f"{path} holds a line that is not a record ({error}). Another program wrote to it, or "
            "the disk is faulty. Restore the file, or move it away and lose its records."
        ) from error
    return SegmentRecords(path.name, table, torn=len(whole) < len(content))
