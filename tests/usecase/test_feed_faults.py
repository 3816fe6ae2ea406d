"""Does each fault change what it says it does, and nothing that it was given?"""

from __future__ import annotations

from datetime import date
from functools import cache

import pandas as pd
import pytest

from usecase import source
from usecase.feed_faults import BENIGN, FAULTS, FeedFault

SINCE, DAY = date(2013, 4, 4), date(2013, 4, 5)


@cache
def real(feed: str, day: date) -> pd.DataFrame:
    return source.fetch(feed, day)


def publish(feed: str, day: date) -> pd.DataFrame:
    """What the fault may do with as it likes: a copy."""
    return real(feed, day).copy()


def published(fault: FeedFault, feed: str) -> pd.DataFrame:
    """What is published instead; no row where nothing is."""
    try:
        return fault.change(publish, feed, DAY, SINCE).reset_index(drop=True)
    except LookupError:
        return real(feed, DAY).iloc[:0]


def feeds(day: date) -> list[str]:
    return [feed for feed in source.FEEDS if source.due(feed, day)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.told)
def test_a_fault_is_seen_in_what_is_published(fault: FeedFault) -> None:
    changed = [
        feed for feed in feeds(DAY)
        if not published(fault, feed).equals(real(feed, DAY).reset_index(drop=True))
    ]  # fmt: skip
    assert changed, "this fault would do nothing"
    assert len(changed) < len(feeds(DAY)), "a fault is of one source"


def test_what_is_benign_keeps_every_row_or_has_more_of_the_same() -> None:
    as_they_were, _, more, reordered = BENIGN
    for feed in feeds(DAY):
        rows = real(feed, DAY).reset_index(drop=True)
        assert published(as_they_were, feed).equals(rows)
        assert len(published(more, feed)) >= len(rows)
        again = published(reordered, feed)
        columns = list(rows.columns)
        pd.testing.assert_frame_equal(
            again.sort_values(columns, ignore_index=True),
            rows.sort_values(columns, ignore_index=True),
        )
