"""Cases and labels in the validated batches of a range of days."""

from datetime import date
from pathlib import Path

import pandas as pd

from features import partitions
from usecase.schema import SCHEMA
from usecase.target import LABEL_FEED, SPINE_FEED, labels, spine


def read_cases(data: Path, first_day: date, last_day: date) -> pd.DataFrame:
    """Return the cases that `usecase.target.spine` makes of the batches; both days are included.

    The spine lists a case some time before its decision. How long before differs.
    """
    return spine(_read(data, SPINE_FEED, first_day, last_day))


def read_labels(data: Path, first_day: date, last_day: date) -> pd.DataFrame:
    """Return `key`, `label` and `known_at` (UTC) of the batches; both days are included."""
    return labels(_read(data, LABEL_FEED, first_day, last_day))


def _read(data: Path, feed: str, first_day: date, last_day: date) -> pd.DataFrame:
    rows = partitions.read_days(data, "validated", feed, first_day, last_day)
    return rows if len(rows) else SCHEMA[feed].empty_table().to_pandas()
