"""Each rule refuses its case, real data pass, and a refusal keeps the last good state."""

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from features import partitions
from pipelines.ingestion import (
    batch_checks,
    batch_facts,
    expectation_suites,
    ingest,
    validate,
)
from pipelines.ingestion.batch_checks import RowReasons, check_batches
from pipelines.ingestion.rules import key_rules
from settings import LoopError, Settings
from tests.use_case import PARAMS_FILE, USE_CASE
from usecases.flights import facts
from usecases.flights import rules as expectations
from usecases.flights.schema import SCHEMA

AS_OF = datetime(2013, 4, 1, tzinfo=UTC)
DAY = date(2013, 3, 31)
NOON = pd.Timestamp("2013-03-31T12:00Z")
TWICE = "the row comes twice"

# One cell of a real row, its new value, and the rule that must refuse the row.
# (feed, column, value or function of the old value, rule); all changed outcomes have landed.
BROKEN_CELLS: list[tuple[str, str, Any, str]] = [
    *((feed, column, None, f"{column} is given")
      for feed in USE_CASE.feeds for column in [*USE_CASE.feeds[feed], *expectations.GIVEN[feed]]),
    *((feed, TWICE, None, "key is unique in its batch") for feed in USE_CASE.feeds),
    *((feed, "tailnum", "n-1", "tailnum is a registration")
      for feed in ("planes", "schedule", "outcomes")),
    *((feed, "carrier", "XX", "carrier is known") for feed in ("schedule", "outcomes")),
    *((feed, "origin", "PHL", "origin is known") for feed in ("schedule", "outcomes", "weather")),
    *((feed, "tailnum", lambda number: f"{number}\n", "tailnum is a registration")
      for feed in ("planes", "schedule", "outcomes")),
    *((feed, "dest", "Lax", "dest is an IATA code") for feed in ("schedule", "outcomes")),
    *((feed, "dest", lambda code: f"{code}\n", "dest is an IATA code")
      for feed in ("schedule", "outcomes")),
    *((feed, "flight", 0, "flight within bounds") for feed in ("schedule", "outcomes")),
    *((feed, "sched_arr", lambda at: at + timedelta(days=1), "block_minutes within bounds")
      for feed in ("schedule", "outcomes")),
    *((feed, "sched_arr", lambda at: at - timedelta(days=1), "arrival is scheduled after departure")
      for feed in ("schedule", "outcomes")),
    ("planes", "year", 1903.0, "year within bounds"),
    ("planes", "engines", 12, "engines within bounds"),
    ("planes", "seats", 0, "seats within bounds"),
    ("schedule", "distance", 17, "distance within bounds"),
    ("schedule", "known_at", NOON + timedelta(days=2), "published before departure"),
    ("schedule", "hour", lambda hour: hour - 1, "local time agrees with UTC"),
    ("schedule", "time_hour", lambda at: at - timedelta(hours=1),
     "time_hour is the hour of departure"),
    ("outcomes", "dep_time", 2401.0, "dep_time within bounds"),
    ("outcomes", "dep_time", 1261.0, "dep_minute within bounds"),
    ("outcomes", "arr_time", 2401.0, "arr_time within bounds"),
    ("outcomes", "arr_time", 1261.0, "arr_minute within bounds"),
    ("outcomes", "dep_delay", 1e15, "dep_delay within bounds"),
    ("outcomes", "arr_delay", -1000.0, "arr_delay within bounds"),
    ("outcomes", "air_time", 3.0, "air_time within bounds"),
    ("outcomes", "dep_time", None, "who landed also left"),
    ("outcomes", "arr_time", None, "an arrival delay implies an arrival"),
    ("outcomes", "air_time", None, "an arrival delay implies minutes in the air"),
    ("outcomes", "arr_delay", None, "minutes in the air imply an arrival delay"),
    ("outcomes", "dep_delay", None, "who left has a departure delay"),
    ("outcomes", "dep_delay", lambda delay: delay + 7, "departure agrees with its delay"),
    ("outcomes", "arr_delay", lambda delay: delay - 7, "arrival agrees with its delay"),
    ("outcomes", "known_at", lambda at: at - timedelta(minutes=1), "not known before it happened"),
    *(("weather", column, high + 1.0, f"{column} within bounds")
      for column, (_, high) in expectations.ROW["weather"].items()),
    ("weather", "dewp", lambda dewp: 89.0, "dew point is not above temperature"),
    ("weather", "hour", lambda hour: (hour + 5) % 24, "local time agrees with UTC"),
    ("weather", "known_at", lambda at: at - timedelta(hours=2), "not known before it was observed"),
]  # fmt: skip
DAY_OF = dict.fromkeys(USE_CASE.feeds, DAY) | {"planes": date(2013, 1, 1)}


def batch(feed: str) -> pd.DataFrame:
    """Return a real batch; outcomes start with flights that landed."""
    rows = USE_CASE.fetch(feed, DAY_OF[feed])
    order = rows["arr_delay"].isna() if feed == "outcomes" else pd.Series(0, index=rows.index)
    first = order.sort_values(kind="stable").index
    return rows.loc[first].reset_index(drop=True)


@pytest.fixture(scope="module", params=USE_CASE.feeds)
def quarantined(request) -> tuple[str, dict[int, tuple[str, str]], RowReasons]:
    """Check a real batch with broken rows; return the expected and the found rules by row."""
    feed = request.param
    rows = batch(feed).astype(object)
    broken: dict[int, tuple[str, str]] = {}
    # From row 8 on: in the first rows, an hour earlier would be another day.
    for number, (_, column, value, rule) in enumerate(
        (case for case in BROKEN_CELLS if case[0] == feed), start=8
    ):
        broken[number] = (column, rule)
        if column == TWICE:
            rows.loc[len(rows)] = rows.loc[number]
            broken[len(rows) - 1] = (column, rule)
        else:
            old = rows.at[number, column]
            rows.at[number, column] = value(old) if callable(value) else value
    types = {field.name: field.type for field in SCHEMA[feed]}
    table = pa.table(
        {name: pa.array(rows[name], types[name], from_pandas=True) for name in rows.columns}
    )
    rules = batch_checks.feed_rules(USE_CASE, feed)
    rules.batches.clear()  # so many broken rows would otherwise refuse the batch
    day = DAY_OF[feed]
    ((_, reasons),) = check_batches(feed, {day: table}, {day: []}, rules).accepted.values()
    return feed, broken, reasons


def test_only_broken_rows_are_quarantined_each_for_its_rule(quarantined):
    feed, broken, reasons = quarantined
    assert set(reasons) == set(broken)
    missed = {
        (feed, column, rule): reasons[number]
        for number, (column, rule) in broken.items()
        if rule not in reasons[number]
    }
    assert missed == {}


ABSURD: dict[str, list[Any]] = {
    "string": ["", "é" * 5000],
    "int64": [2**62, -(2**62)],
    "double": [float("inf"), float("-inf"), 1e308],
    "timestamp[us, tz=UTC]": [datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)],
}


@pytest.mark.parametrize("feed", ["schedule", "outcomes", "weather"])
def test_an_absurd_value_breaks_a_rule_and_not_the_arithmetic(feed):
    day = DAY_OF[feed]
    table = pa.Table.from_pandas(batch(feed), preserve_index=False)
    cells = [(field.name, value) for field in SCHEMA[feed] for value in ABSURD[str(field.type)]]
    columns = table.to_pydict()
    for number, (column, value) in enumerate(cells):
        columns[column][number] = value
    rules = batch_checks.feed_rules(USE_CASE, feed)
    rules.batches.clear()
    verdict = check_batches(feed, {day: pa.table(columns, SCHEMA[feed])}, {day: []}, rules)
    ((_, reasons),) = verdict.accepted.values()
    assert [cell for number, cell in enumerate(cells) if number not in reasons] == []


def test_every_row_rule_has_a_case_that_it_must_refuse():
    cases = {(feed, rule) for feed, _, _, rule in BROKEN_CELLS}
    rules = {
        (feed, rule.meta["rule"])
        for feed in USE_CASE.feeds
        for rule in [*key_rules(USE_CASE.feeds[feed]), *expectations.row_rules(feed)]
    }  # fmt: skip
    assert cases == rules


def test_no_rule_tolerates_a_share_of_rows():
    for feed in USE_CASE.feeds:
        rules = batch_checks.feed_rules(USE_CASE, feed)
        for rule in [*rules.rows, *rules.batches]:
            assert rule.mostly == 1


@pytest.mark.parametrize("feed", USE_CASE.feeds)
def test_every_batch_rule_refuses_on_both_sides_of_its_bounds(feed):
    rules = batch_checks.feed_rules(USE_CASE, feed).batches
    day = DAY_OF[feed]
    rows = USE_CASE.fetch(feed, day)
    good = batch_facts.compute_batch_facts(
        rows, day, key=USE_CASE.feeds[feed], n_quarantined=0, history=[len(rows)] * 7
    )
    good |= facts.facts(feed, rows)
    frames, expected = [good], {}
    for rule in rules:
        expected[rule.meta["rule"]] = []
        for bound in (rule.max_value * 1.01, rule.min_value - 0.01):
            if bound > 0:
                expected[rule.meta["rule"]].append(len(frames))
                frames.append({**good, rule.column: bound})
    assert expectation_suites.run_suite(rules, pd.DataFrame(frames), feed)[0] == expected


@pytest.fixture(scope="module")
def quarter(tmp_path_factory) -> tuple[Settings, dict[str, dict[str, Any]]]:
    """Validate January to March; return the settings and the summary."""
    folder = tmp_path_factory.mktemp("quarter")
    (folder / "usecases" / "flights").mkdir(parents=True)
    shutil.copy(PARAMS_FILE, folder / "usecases" / "flights")
    settings = Settings(home=folder)
    ingest.fetch_due_batches(settings, AS_OF)
    return settings, validate.validate_new_batches(settings, AS_OF)


def test_all_real_rows_but_two_pass(quarter):
    settings, summary = quarter
    found = {feed: (one["batches"], one["rows"], one["reasons"]) for feed, one in summary.items()}
    assert found == {
        "planes": (1, 3_322, {}),
        "schedule": (90, 81_759, {}),
        # 10 March: summer time began, so the local time of this landing does not exist.
        "outcomes": (90, 80_484, {"not known before it happened": 1}),
        # 12 February: 1,048 mph.
        "weather": (90, 6_448, {"wind_speed within bounds": 1}),
    }
    bad = partitions.read_days(settings.data, "quarantine", "weather", date.min, date.max)
    assert bad["reasons"].tolist() == ["wind_speed within bounds (wind_speed=1048.36058)"]


def test_a_weather_feed_that_stops_within_the_day_is_refused():
    last = date(2013, 12, 30)
    table = pa.Table.from_pandas(USE_CASE.fetch("weather", last).head(3), preserve_index=False)
    verdict = check_batches(
        "weather", {last: table}, {last: [72] * 28}, batch_checks.feed_rules(USE_CASE, "weather")
    )
    assert verdict.refused == last
    assert "n_rows_ratio within bounds: n_rows_ratio is 0.0417" in verdict.refusal_reasons[0]


def thinned(share: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.sample(frac=share, random_state=0).sort_index()


def without(column: str, share: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{column: rows[column].where(rows.index >= share * len(rows))})

    return change


def until(hour: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows[rows["known_at"].dt.hour < hour]


def repeated(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, rows.iloc[: len(rows) // 5]])


def emptied(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.assign(**{column: rows[column].mask(rows["carrier"] == "UA")})


def in_celsius(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{name: (rows[name] - 32) * 5 / 9 for name in ("temp", "dewp")})


# A fault of the newest batch of a feed, and the required part of the message.
BROKEN_BATCHES: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    ("planes", thinned(0.2), "n_rows is 664, expected min_value 1000, max_value 20000"),
    ("planes", without("year", 0.5), "null_share_year is 0.5"),
    ("planes", repeated, "duplicate_share is 0.333"),
    ("schedule", thinned(0.4), "n_rows_ratio is 0.3"),
    ("schedule", thinned(0.1), "n_rows is "),
    ("schedule", lambda rows: rows.drop(columns="tailnum"), "missing: tailnum string"),
    ("schedule", lambda rows: rows.assign(flight="1545"), "unexpected: flight string"),
    ("schedule", lambda rows: rows.assign(distance=0), "quarantined_share is 1, expected"),
    ("schedule", lambda rows: rows.assign(known_at=rows["known_at"] - timedelta(hours=4)),
     "hours_before_end is 24, expected min_value 0, max_value 20"),
    ("schedule", without("tailnum", 0.7), "null_share_tailnum is 0.7"),
    ("schedule", emptied("tailnum"), "null_gap_tailnum is 0.9"),
    ("outcomes", lambda rows: emptied("arr_delay")(emptied("arr_time")(emptied("air_time")(rows))),
     "null_gap_arr_delay is 0.9"),
    ("outcomes", until(18), "hours_before_end is 6"),
    ("outcomes", repeated, "duplicate_share is 0.33"),
    ("outcomes", without("arr_delay", 1.0), "null_share_arr_delay is 1, expected"),
    ("weather", until(18), "hours_before_end is 7"),
    ("weather", thinned(0.4), "n_rows_ratio is 0.4028, expected min_value 0.5, max_value 2"),
    ("weather", in_celsius, "humidity_gap is "),
    ("weather", lambda rows: rows.assign(pressure=1013.2), "distinct_pressure is 1"),
    ("weather", without("temp", 0.5), "null_share_temp is 0.5"),
    ("weather", lambda rows: rows.rename(columns={"humid": "humidity"}),
     "missing: humid double; unexpected: humidity double"),
]  # fmt: skip


@pytest.mark.parametrize(("feed", "change", "message"), BROKEN_BATCHES)
def test_a_broken_batch_is_refused_and_the_last_good_state_remains(quarter, feed, change, message):
    data, day = quarter[0].data, DAY_OF[feed]
    raw = partitions.partition_path(data, "raw", feed, day)
    validated = partitions.partition_path(data, "validated", feed, day)
    refused = partitions.partition_path(data, "quarantine", f"refused/{feed}", day)
    good, done = raw.read_bytes(), validated.read_bytes()
    validated.unlink()
    partitions.write_partition(change(USE_CASE.fetch(feed, day)), raw)
    try:
        before = state(data)
        with pytest.raises(LoopError, match=f"{feed} for {day} is refused") as caught:
            validate.validate_new_batches(quarter[0], AS_OF)
        assert message in str(caught.value)
        assert refused.exists()
        assert not raw.exists()
        refused.unlink()
        assert state(data) == before
    finally:  # restored for the next case
        refused.unlink(missing_ok=True)
        raw.write_bytes(good)
        validated.write_bytes(done)


def state(data: Path) -> dict[str, bytes]:
    layers = (data / "validated", data / "quarantine")
    return {str(path): path.read_bytes() for one in layers for path in one.rglob("*.parquet")}
