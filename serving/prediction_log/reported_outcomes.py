"""Outcomes that clients report by request id: a file of lines beside the prediction log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from features import durable_files

if TYPE_CHECKING:
    import pandas as pd


def outcomes_file(predictions: Path) -> Path:
    return predictions / "feedback" / "outcomes.jsonl"


def reported_labels(predictions: Path) -> pd.DataFrame:
    """The outcomes told, as `usecase.target.labels` gives those of the feed."""
    import pandas as pd

    lines = [json.loads(line) for line in durable_files.read_lines(outcomes_file(predictions))]
    frame = pd.DataFrame(lines, columns=["key", "label", "known_at"])
    known_at = pd.to_datetime(frame["known_at"], utc=True, format="ISO8601")
    return frame.assign(label=frame["label"].astype("int8"), known_at=known_at)
