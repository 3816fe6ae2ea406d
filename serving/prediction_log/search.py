"""Finds a prediction by its request id, in the segments first, then in the Parquet files."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from serving.prediction_log import parquet_files, segments


def find_prediction(folder: Path, request_id: str) -> dict[str, Any] | None:
    """Return the prediction's `key` and `decision_time` (UTC); None if the log lacks it."""
    needle = f'"request_id":{json.dumps(request_id)}'.encode()
    for path in sorted(folder.glob(f"*{segments.SEGMENT_SUFFIX}"), reverse=True):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # compacted since the listing
        if (at := content.find(needle)) >= 0:
            start, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at)
            if end > 0:
                record = json.loads(content[start:end])
                moment = datetime.fromisoformat(record["decision_time"])
                return {"key": record["key"], "decision_time": moment}
    for path, _ in parquet_files.read_summaries(folder):
        columns = ["key", "decision_time"]
        rows = pq.read_table(
            path, columns=columns, filters=[("request_id", "==", request_id)], partitioning=None
        ).to_pylist()
        if rows:
            return dict(rows[0])
    return None
