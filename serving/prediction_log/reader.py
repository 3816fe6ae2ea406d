"""Reads the prediction log: segments and Parquet files as one table of predictions."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd

from serving.prediction_log import json_lines, parquet_files, records


def read_predictions(
    folder: Path, *, since: datetime | None = None, until: datetime | None = None
) -> pd.DataFrame:
    """The records in `folder`, one row per request, in the order in which they were logged.

    `records.COLUMNS`, then the logged objects flattened: `request.<field>` and `features.<column>`.
    Times are datetime64[us, UTC]. Of records with one `request_id` the first counts. A last line
    without its end was never acknowledged and is left out. `attrs` counts both: `torn_lines`,
    `duplicates`. Raises `LoopError` if a whole line is not a record.

    With `since` and `until` (aware), only what was decided in [since, until), and the columns that
    were logged then: what was compacted is not read beyond that. Should clients use a `request_id`
    again for a case of another time, the first within the range may count.
    """
    logged = records.read_segments(folder)  # first: what vanishes since is among the files by then
    tables, notes = parquet_files.read_parquet_files(folder, since, until)
    held = {name for note in notes for name in note.segments}
    open_segments = [segment for segment in logged if segment.name not in held]
    tables += [segment.table for segment in open_segments]
    frame = json_lines.merge_tables([records.EMPTY_SCHEMA.empty_table(), *tables]).to_pandas()
    frame = frame.sort_values("logged_at", kind="stable")
    once: pd.DataFrame = frame.drop_duplicates("request_id", keep="first")
    duplicates = len(frame) - len(once) + sum(note.duplicates for note in notes)
    if since is not None:
        once = once[once["decision_time"] >= since]
    if until is not None:
        once = once[once["decision_time"] < until]
    once = once.reset_index(drop=True)
    torn_lines = sum(note.torn_lines for note in notes)
    torn_lines += sum(segment.torn for segment in open_segments)
    once.attrs = {"torn_lines": torn_lines, "duplicates": duplicates}
    return once
