"""Reads the prediction log: all predictions, one of them, and the outcomes that clients reported.

Outcomes are JSON lines in a file beside the segments, and name predictions by their ids.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract import UseCase
from features import durable_files
from serving.prediction_log import parquet_files, records, segments

IDENTITY = ("prediction_id", "request_id", "client", "key", "decision_time")
MAX_FOUND = 20  # predictions that one search returns


def read_predictions(
    use_case: UseCase, folder: Path, *, since: datetime | None = None,
    until: datetime | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Return the records in `folder`: one row per prediction, in the order of logging.

    The columns are the declared ones and all others that were logged, with the logged objects
    flattened: `request.<field>` and `features.<column>`. Times are datetime64[us, UTC]. The first
    record of a `prediction_id` counts. A last line without its end was never acknowledged and is
    left out. `attrs` counts both: `duplicates` and `torn_lines`. Raises `LoopError` if a whole line
    is not a record.

    `since` and `until` (aware) limit the decision times to [since, until), and the undeclared
    columns to those logged then: Parquet outside that range is not read.
    """
    # Segments first: one that is compacted meanwhile is then in the Parquet files.
    logged = [records.parse_segment(use_case, *each) for each in segments.read_segments(folder)]
    tables, summaries = parquet_files.read_parquet_files(folder, since, until)
    compacted = {name for summary in summaries for name in summary.segments}
    remaining = [segment for segment in logged if segment.name not in compacted]
    tables = [*tables, *(each.table for each in remaining)]
    table, duplicates = records.merge_records(use_case, tables)
    for is_within, limit in ((pc.greater_equal, since), (pc.less, until)):
        if limit is not None:
            table = table.filter(is_within(table["decision_time"], limit))
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs = {
        "torn_lines": sum(each.torn_lines for each in summaries) + sum(s.torn for s in remaining),
        "duplicates": duplicates + sum(each.duplicates for each in summaries),
    }
    return frame


def find_predictions(
    folder: Path, column: Literal["prediction_id", "request_id"], value: str
) -> list[dict[str, Any]]:
    """Return up to `MAX_FOUND` predictions with `value` in `column`, by the columns of `IDENTITY`.

    A repeated request is one prediction. Searches the segments first, then the Parquet files.
    """
    # Records of an older version have no `prediction_id`; theirs is their request id.
    names = ["request_id"] if column == "request_id" else ["prediction_id", "request_id"]
    found: dict[str, dict[str, Any]] = {}
    for record in _search(folder, names, value):
        identity = record.get("prediction_id") or record["request_id"]
        prediction = {name: record.get(name) for name in IDENTITY} | {"prediction_id": identity}
        if prediction[column] == value:
            found.setdefault(identity, prediction)
        if len(found) == MAX_FOUND:
            break
    return list(found.values())


def _search(folder: Path, names: list[str], value: str) -> Iterator[dict[str, Any]]:
    """Yield the records, and perhaps others, that have `value` in one of the columns `names`."""
    needles = [f'"{name}":{json.dumps(value)}'.encode() for name in names]
    for _, content in segments.read_segments(folder, newest_first=True):
        for needle in needles:
            at = content.find(needle)
            while at >= 0 and (end := content.find(b"\n", at)) > 0:
                record = json.loads(content[content.rfind(b"\n", 0, at) + 1 : end])
                moment = datetime.fromisoformat(record["decision_time"])
                yield record | {"decision_time": moment}
                at = content.find(needle, end)
    for path, _ in parquet_files.read_summaries(folder):
        stored = pq.read_schema(path).names
        yield from pq.read_table(
            path, columns=[name for name in IDENTITY if name in stored], partitioning=None,
            filters=[[(name, "==", value)] for name in names if name in stored],
        ).to_pylist()  # fmt: skip


def outcomes_file(predictions: Path) -> Path:
    """Return the file of the outcomes in the folder `predictions`."""
    return predictions / "feedback" / "outcomes.jsonl"


def reported_labels(predictions: Path) -> pd.DataFrame:
    """Return the reported outcomes in the form of the use case's `labels`."""
    lines = durable_files.read_json_lines(outcomes_file(predictions))
    frame = pd.DataFrame(lines, columns=["key", "label", "known_at"])
    known_at = pd.to_datetime(frame["known_at"], utc=True, format="ISO8601")
    return frame.assign(label=frame["label"].astype("int8"), known_at=known_at)
