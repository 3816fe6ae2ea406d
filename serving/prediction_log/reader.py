"""Reads the prediction log: all predictions, one of them, and the outcomes that clients reported.

Outcomes are JSON lines in a file beside the segments, and name predictions by request id.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import durable_files
from serving.prediction_log import parquet_files, records, segments


def read_predictions(
    folder: Path, *, since: datetime | None = None, until: datetime | None = None
) -> pd.DataFrame:
    """Return the records in `folder`: one row per request, in the order of logging.

    The columns are the declared ones and all others that were logged, with the logged objects
    flattened: `request.<field>` and `features.<column>`. Times are datetime64[us, UTC]. The first
    record of a `request_id` counts. A last line without its end was never acknowledged and is left
    out. `attrs` counts both: `duplicates` and `torn_lines`. Raises `LoopError` if a whole line is
    not a record.

    `since` and `until` (aware) limit the decision times to [since, until), and the undeclared
    columns to those logged then: Parquet outside that range is not read. If a client uses a
    `request_id` for cases of different times, the first record within the range may count.
    """
    # Segments first: one that is compacted meanwhile is then in the Parquet files.
    logged = [records.parse_segment(*each) for each in segments.read_segments(folder)]
    tables, summaries = parquet_files.read_parquet_files(folder, since, until)
    compacted = {name for summary in summaries for name in summary.segments}
    remaining = [segment for segment in logged if segment.name not in compacted]
    table, duplicates = records.merge_records([*tables, *(each.table for each in remaining)])
    for is_within, limit in ((pc.greater_equal, since), (pc.less, until)):
        if limit is not None:
            table = table.filter(is_within(table["decision_time"], limit))
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs = {
        "torn_lines": sum(each.torn_lines for each in summaries) + sum(s.torn for s in remaining),
        "duplicates": duplicates + sum(each.duplicates for each in summaries),
    }
    return frame


def find_prediction(folder: Path, request_id: str) -> dict[str, Any] | None:
    """Return the prediction's `key` and `decision_time` (UTC); None if the log lacks it.

    Searches the segments first, then the Parquet files.
    """
    needle = f'"request_id":{json.dumps(request_id)}'.encode()
    for _, content in segments.read_segments(folder, newest_first=True):
        if (at := content.find(needle)) >= 0 and (end := content.find(b"\n", at)) > 0:
            record = json.loads(content[content.rfind(b"\n", 0, at) + 1 : end])
            moment = datetime.fromisoformat(record["decision_time"])
            return {"key": record["key"], "decision_time": moment}
    for path, _ in parquet_files.read_summaries(folder):
        rows = pq.read_table(
            path, columns=["key", "decision_time"], partitioning=None,
            filters=[("request_id", "==", request_id)],
        ).to_pylist()  # fmt: skip
        if rows:
            return dict(rows[0])
    return None


def outcomes_file(predictions: Path) -> Path:
    """Return the file of the outcomes in the folder `predictions`."""
    return predictions / "feedback" / "outcomes.jsonl"


def reported_labels(predictions: Path) -> pd.DataFrame:
    """Return the reported outcomes in the form of `usecase.target.labels`."""
    lines = durable_files.read_json_lines(outcomes_file(predictions))
    frame = pd.DataFrame(lines, columns=["key", "label", "known_at"])
    known_at = pd.to_datetime(frame["known_at"], utc=True, format="ISO8601")
    return frame.assign(label=frame["label"].astype("int8"), known_at=known_at)
