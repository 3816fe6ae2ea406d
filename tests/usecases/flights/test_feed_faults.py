"""Each fault changes its own feeds, and never the given rows."""

from datetime import date
from functools import cache

import pandas as pd
import pytest

from contract import FeedFault
from tests.use_case import USE_CASE
from usecases.flights.feed_faults import BENIGN, FAULTS

SINCE, DAY = date(2013, 4, 4), date(2013, 4, 5)


@cache
def real(feed: str, day: date) -> pd.DataFrame:
    return USE_CASE.fetch(feed, day)


def publish(feed: str, day: date) -> pd.DataFrame:
    """Return a copy, which the fault may change."""
    return real(feed, day).copy()


def published(fault: FeedFault, feed: str) -> pd.DataFrame:
    """Return the faulty batch, without rows if nothing is published."""
    try:
        return fault.change(publish, feed, DAY, SINCE).reset_index(drop=True)
    except LookupError:
        return real(feed, DAY).iloc[:0]


def feeds(day: date) -> list[str]:
    return [feed for feed in USE_CASE.feeds if USE_CASE.due(feed, day)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.description)
def test_a_fault_changes_some_feeds(fault: FeedFault) -> None:
    changed = [
        feed for feed in feeds(DAY)
        if not published(fault, feed).equals(real(feed, DAY).reset_index(drop=True))
    ]  # fmt: skip
    assert changed, "this fault changes nothing"
    assert len(changed) < len(feeds(DAY)), "a fault must not change all feeds"


def test_benign_changes_keep_or_add_rows() -> None:
    unchanged, _, more, shuffled = BENIGN
    for feed in feeds(DAY):
        rows = real(feed, DAY).reset_index(drop=True)
        assert published(unchanged, feed).equals(rows)
        assert len(published(more, feed)) >= len(rows)
        other_order = published(shuffled, feed)
        columns = list(rows.columns)
        pd.testing.assert_frame_equal(
            other_order.sort_values(columns, ignore_index=True),
            rows.sort_values(columns, ignore_index=True),
        )


def test_an_accepted_miss_has_a_reason_and_every_fault_its_own_name() -> None:
    assert all(each.why for each in FAULTS if each.watcher == "none")
    every = USE_CASE.feed_faults()
    assert list(every) == [*FAULTS, *BENIGN]
    assert len({each.description for each in every}) == len(every)
    assert {each.watcher for each in FAULTS} > {"validation", "freshness", "labels", "performance"}
    assert {(each.watcher, each.reaction) for each in BENIGN} == {("none", "nothing")}
