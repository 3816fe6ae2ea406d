"""Each row arrives once, on the day on which it could be known, in the declared columns."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from tests.use_case import USE_CASE
from usecases.flights.schema import SCHEMA

JANUARY = [date(2013, 1, 1) + timedelta(days=number) for number in range(31)]
ORDINARY = date(2013, 3, 5)


def month(feed: str) -> pd.DataFrame:
    return pd.concat(
        [USE_CASE.fetch(feed, day) for day in JANUARY if USE_CASE.due(feed, day)], ignore_index=True
    )


@pytest.mark.parametrize("feed", USE_CASE.feeds)
def test_a_batch_holds_what_became_known_that_day(feed):
    for day in JANUARY:
        if USE_CASE.due(feed, day):
            rows = USE_CASE.fetch(feed, day)
            assert len(rows) > 0
            assert (rows["known_at"].dt.date == day).all()
            assert rows["known_at"].is_monotonic_increasing
            assert rows.index.tolist() == list(range(len(rows)))


@pytest.mark.parametrize("feed", USE_CASE.feeds)
def test_columns_and_types_are_those_of_the_schema(feed):
    rows = month(feed)
    assert pa.Schema.from_pandas(rows, preserve_index=False).remove_metadata() == SCHEMA[feed]


@pytest.mark.parametrize("feed", USE_CASE.feeds)
def test_keys_are_unique(feed):
    rows = month(feed)
    assert rows[USE_CASE.feeds[feed]].notna().all(axis=None)
    assert not rows.duplicated(USE_CASE.feeds[feed]).any()


def test_the_same_day_gives_the_same_rows():
    first = USE_CASE.fetch("outcomes", ORDINARY)
    assert first.equals(USE_CASE.fetch("outcomes", ORDINARY))


def test_a_caller_cannot_change_later_results():
    USE_CASE.fetch("weather", ORDINARY)["temp"] = -999.0
    assert (USE_CASE.fetch("weather", ORDINARY)["temp"] > -999).all()


def test_every_flight_of_the_year_is_scheduled_once_and_settled_once():
    days = [date(2013, 1, 1) + timedelta(days=number) for number in range(365)]
    n_scheduled = sum(len(USE_CASE.fetch("schedule", day)) for day in days[:-1])
    n_settled = sum(len(USE_CASE.fetch("outcomes", day)) for day in days)
    assert n_scheduled == 336_776
    assert n_settled == 336_776 - 257  # settled on 1 January 2014, after the data end


def test_the_schedule_is_known_before_departure():
    schedule = month("schedule")
    assert (schedule["known_at"] <= schedule["sched_dep"] - timedelta(hours=2)).all()


def test_an_outcome_is_known_at_landing():
    outcomes = USE_CASE.fetch("outcomes", ORDINARY)
    landed = outcomes[outcomes["arr_delay"].notna()]
    late = pd.to_timedelta(landed["arr_delay"], unit="min")
    assert (landed["known_at"] == landed["sched_arr"] + late).all()
    assert len(landed) > 800


def test_a_disruption_is_known_at_the_scheduled_arrival():
    outcomes = USE_CASE.fetch("outcomes", date(2013, 2, 9))  # the storm
    lost = outcomes[outcomes["arr_delay"].isna()]
    assert (lost["known_at"] == lost["sched_arr"]).all()
    assert len(lost) > 500


def test_weather_is_known_an_hour_after_it_was_observed():
    weather = USE_CASE.fetch("weather", ORDINARY)
    assert (weather["known_at"] == weather["time_hour"] + timedelta(hours=1)).all()


def test_local_and_universal_time_agree_on_both_sides_of_summer_time():
    for day, first in ((date(2013, 3, 9), 5), (date(2013, 3, 11), 4)):
        schedule = USE_CASE.fetch("schedule", day)
        assert set(schedule["known_at"].dt.hour) == {first}  # midnight in New York
        assert ((schedule["time_hour"].dt.hour - schedule["hour"]) % 24).isin([4, 5]).all()


@pytest.mark.parametrize(
    ("feed", "day"),
    [("weather", date(2012, 12, 31)), ("weather", date(2014, 1, 1)), ("planes", ORDINARY)],
)
def test_nothing_is_due_outside_the_data(feed, day):
    assert not USE_CASE.due(feed, day)
    with pytest.raises(LookupError, match=f"{feed} .*{day}"):
        USE_CASE.fetch(feed, day)


def test_an_unknown_feed_is_an_error():
    with pytest.raises(LookupError, match="no feed 'trains'; the feeds are planes"):
        USE_CASE.fetch("trains", ORDINARY)


def test_the_simulated_time_runs_at_the_speed_of_the_clock():
    start, since = datetime(2013, 4, 1, tzinfo=UTC), datetime(2028, 2, 29, 17, 30, tzinfo=UTC)
    found = USE_CASE.world_time(since + timedelta(hours=30), as_of=start, since=since)
    assert found == datetime(2013, 4, 2, 6, tzinfo=UTC)
