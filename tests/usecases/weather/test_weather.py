"""The use case `weather`: its size, its features built day by day, and what a request asks for."""

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from contract import load_use_case
from usecases.weather import BOUNDS, LEAD, PAST_THE_HOUR, observed, read_observations

WEATHER = load_use_case("weather")
FIRST, LAST = date(2013, 3, 8), date(2013, 3, 12)


def read(feed: str, first: date, last: date) -> pd.DataFrame:
    days = pd.date_range(first, last).date
    return pd.concat([WEATHER.fetch(feed, day) for day in days], ignore_index=True)


def test_all_its_files_together_have_at_most_200_lines() -> None:
    files = [path for path in WEATHER.folder.rglob("*.*") if path.suffix in {".py", ".md", ".yaml"}]
    assert sum(len(Path(path).read_text().splitlines()) for path in files) <= 200


def test_a_day_built_alone_has_the_values_of_the_whole() -> None:
    whole = observed(read, FIRST, LAST)
    by_day = [observed(read, day, day) for day in pd.date_range(FIRST, LAST).date]
    order = ["origin", "event_timestamp"]
    pd.testing.assert_frame_equal(
        pd.concat(by_day).sort_values(order, ignore_index=True),
        whole.sort_values(order, ignore_index=True), check_exact=True,
    )  # fmt: skip


def test_features_are_those_of_the_hours_before() -> None:
    rows = observed(read, FIRST, LAST).set_index(["origin", "event_timestamp"])
    given = read_observations().set_index(["origin", "known_at"])
    for (origin, at), row in rows.sample(50, random_state=1).iterrows():
        here = given.loc[origin]
        values = (series[list(BOUNDS)].astype("float64") for series in (row, here.loc[at]))
        pd.testing.assert_series_equal(*values, check_names=False)
        day = here.loc[at - timedelta(hours=23) : at]
        assert row["bad_24h"] == ((day["precip"] > 0) | (day["visib"] < 10)).sum()
        change = here.loc[at, "humid"] - here["humid"].get(at - timedelta(hours=3), float("nan"))
        assert row["humid_change_3h"] == pytest.approx(change, nan_ok=True)


def test_a_label_is_that_of_the_weather_three_hours_later_and_known_at_the_horizon() -> None:
    rows = read("observations", FIRST, LAST)
    labels = WEATHER.labels(rows).merge(WEATHER.spine(read("hours", FIRST, LAST)), on="key")
    assert len(labels) > 200
    waited = labels["known_at"] - labels["decision_time"]
    assert set(waited) == {LEAD + timedelta(hours=1) - PAST_THE_HOUR}
    assert waited.max() <= WEATHER.horizon
    wet = rows[(rows["precip"] > 0) & rows["time_hour"].dt.day.eq(12)].iloc[0]
    key = f"{wet['time_hour'] - LEAD:%Y-%m-%dT%HZ}:{wet['origin']}"
    assert labels.set_index("key").loc[key, "label"] == 1


def test_a_request_is_a_row_of_the_spine() -> None:
    spine = WEATHER.spine(read("hours", FIRST, LAST))
    for case in spine.sample(20, random_state=1).to_dict("records"):
        request = WEATHER.request().model_validate(WEATHER.payload(case))
        assert WEATHER.key(request) == case["key"]
        assert WEATHER.decision_time(request) == case["decision_time"]
        asked = WEATHER.entity_row(request)
        assert asked == {name: case[name] for name in asked}
