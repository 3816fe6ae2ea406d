"""Reads the prediction log: its segments and Parquet files as one table."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd

from serving.prediction_log import json_lines, parquet_files, records


def read_predictions(
    folder: Path, *, since: datetime | None = None, until: datetime | None = None
) -> pd.DataFrame:
    """Return the records in `folder`: one row per request, in the order of logging.

    The columns are `records.COLUMNS`, then the logged objects flattened: `request.<field>` and
    `features.<column>`. Times are datetime64[us, UTC]. The first record of a `request_id` counts. A
    last line without its end was never acknowledged and is left out. `attrs` counts both:
    `duplicates` and `torn_lines`. Raises `LoopError` if a whole line is not a record.

    `since` and `until` (aware) limit the decision times to [since, until), and the columns to those
    logged then: Parquet outside that range is not read. If a client uses a `request_id` for cases
    of different times, the first record within the range may count.
    """
    # Segments first: one that is compacted meanwhile is then in the Parquet files.
    logged = records.read_segments(folder)
    tables, summaries = parquet_files.read_parquet_files(folder, since, until)
    compacted = {name for summary in summaries for name in summary.segments}
    remaining = [segment for segment in logged if segment.name not in compacted]
    tables += [segment.table for segment in remaining]
    frame = json_lines.merge_tables([records.EMPTY_SCHEMA.empty_table(), *tables]).to_pandas()
    frame = frame.sort_values("logged_at", kind="stable")
    once: pd.DataFrame = frame.drop_duplicates("request_id", keep="first")
    duplicates = len(frame) - len(once) + sum(each.duplicates for each in summaries)
    if since is not None:
        once = once[once["decision_time"] >= since]
    if until is not None:
        once = once[once["decision_time"] < until]
    once = once.reset_index(drop=True)
    torn_lines = sum(each.torn_lines for each in summaries)
    torn_lines += sum(segment.torn for segment in remaining)
    once.attrs = {"torn_lines": torn_lines, "duplicates": duplicates}
    return once
