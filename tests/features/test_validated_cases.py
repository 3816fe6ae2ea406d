"""Cases and labels of a range of days: both days count, and no day gives an empty typed frame."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd

from features import partitions
from features.validated_cases import read_cases, read_labels
from monitoring.measures import performance
from settings import Settings
from tests.use_case import USE_CASE

DAYS = [date(2013, 1, 3), date(2013, 1, 4), date(2013, 1, 5)]


def write_batches(settings: Settings, feed: str) -> None:
    for day in DAYS:
        target = partitions.partition_path(settings.data, "validated", feed, day)
        partitions.write_partition(USE_CASE.fetch(feed, day).head(50), target)


def test_both_days_of_the_range_count(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    write_batches(settings, USE_CASE.label_feed)
    write_batches(settings, USE_CASE.spine_feed)
    known = read_labels(settings, DAYS[0], DAYS[1])["known_at"]
    assert set(known.dt.date) == set(DAYS[:2])
    assert len(read_cases(settings, DAYS[0], DAYS[2])) > len(read_cases(settings, DAYS[1], DAYS[2]))


def test_days_without_batches_give_no_case_and_leave_predictions_unlabelled(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert read_cases(settings, DAYS[0], DAYS[2]).empty
    at = pd.Timestamp(2013, 1, 4, tzinfo=UTC)
    log = pd.DataFrame({"key": ["a"], "logged_at": at, "decision_time": at})
    labels = read_labels(settings, DAYS[0], DAYS[2])
    joined = performance.join_labels(
        log, labels, datetime(2013, 1, 6, tzinfo=UTC), horizon=timedelta(0)
    )
    assert joined["label"].isna().tolist() == [True]
    assert performance.count_new_labels(labels, at, datetime(2013, 1, 6, tzinfo=UTC)) == 0
