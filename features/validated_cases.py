"""Cases and labels in the validated batches of a range of days."""

from datetime import date, datetime, timedelta

import pandas as pd

from features import partitions
from features.statements import newest
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


def add_labels(
    cases: pd.DataFrame, labels: pd.DataFrame, horizon: timedelta, before: datetime
) -> pd.DataFrame:
    """Add `label` and `known_at` (UTC) to `cases`: the label that counts before `before`, or NaN.

    `cases` has `key` and `decision_time`. Of several labels the newest counts, from the horizon on:
    a label that is known earlier counts as if it were known then.
    """
    known = newest(labels, ["key"], before=before)[["key", "label", "known_at"]]
    joined = cases.merge(known, on="key", how="left")
    settled = (joined["decision_time"] + horizon).where(joined["known_at"].notna())
    joined["known_at"] = joined["known_at"].where(~(joined["known_at"] < settled), settled)
    counts = joined["known_at"] < before
    return joined.assign(
        label=joined["label"].where(counts), known_at=joined["known_at"].where(counts)
    )


def _read(settings: Settings, feed: str, first_day: date, last_day: date) -> pd.DataFrame:
    rows = partitions.read_days(settings.data, "validated", feed, first_day, last_day)
    return rows if len(rows) else settings.use_case.schema(feed).empty_table().to_pandas()
