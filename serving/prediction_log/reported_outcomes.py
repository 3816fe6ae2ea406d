"""Outcomes that clients reported by request id: a file of JSON lines in the prediction log."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from features import durable_files


def outcomes_file(predictions: Path) -> Path:
    """Return the file of the outcomes in the folder `predictions`."""
    return predictions / "feedback" / "outcomes.jsonl"


def reported_labels(predictions: Path) -> pd.DataFrame:
    """Return the reported outcomes in the form of `usecase.target.labels`."""
    lines = durable_files.read_json_lines(outcomes_file(predictions))
    frame = pd.DataFrame(lines, columns=["key", "label", "known_at"])
    known_at = pd.to_datetime(frame["known_at"], utc=True, format="ISO8601")
    return frame.assign(label=frame["label"].astype("int8"), known_at=known_at)
