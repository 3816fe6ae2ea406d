"""Cases and labels in the validated batches of a range of days."""

from datetime import date

import pandas as pd

from features import partitions
from settings import Settings


def read_cases(settings: Settings, first_day: date, last_day: date) -> pd.DataFrame:
    """Return the cases that the use case's `spine` makes of the batches; both days are included.

    The spine lists a case some time before its decision. How long before differs.
    """
    use_case = settings.use_case
    return use_case.spine(_read(settings, use_case.spine_feed, first_day, last_day))


def read_labels(settings: Settings, first_day: date, last_day: date) -> pd.DataFrame:
    """Return `key`, `label` and `known_at` (UTC) of the batches; both days are included."""
    use_case = settings.use_case
    return use_case.labels(_read(settings, use_case.label_feed, first_day, last_day))


def _read(settings: Settings, feed: str, first_day: date, last_day: date) -> pd.DataFrame:
    rows = partitions.read_days(settings.data, "validated", feed, first_day, last_day)
    return rows if len(rows) else settings.use_case.schema(feed).empty_table().to_pandas()
