"""Cases and labels in the validated batches of a range of days."""

from datetime import date
from pathlib import Path

import pandas as pd

from features import partitions
from usecase.target import LABEL_FEED, SPINE_FEED, labels, spine


def read_cases(data: Path, first_day: date, last_day: date) -> pd.DataFrame:
    """Return the cases that `usecase.target.spine` makes of the batches; both days are included.

    The spine lists a case some time before its decision. How long before differs.
    """
    rows = partitions.read_days(data, "validated", SPINE_FEED, first_day, last_day)
    return spine(rows) if len(rows) else _empty_frame("key", "decision_time")


def read_labels(data: Path, first_day: date, last_day: date) -> pd.DataFrame:
    """Return `key`, `label` and `known_at` (UTC) of the batches; both days are included."""
    rows = partitions.read_days(data, "validated", LABEL_FEED, first_day, last_day)
    return labels(rows) if len(rows) else _empty_frame("key", "known_at", "label")


def _empty_frame(key: str, time: str, *others: str) -> pd.DataFrame:
    columns = {key: pd.Series(dtype=object), time: pd.to_datetime([], utc=True)}
    return pd.DataFrame(columns | {name: pd.Series(dtype=float) for name in others})
