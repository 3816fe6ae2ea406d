"""Row rules of each feed, and bounds on the facts of its batches."""

from contract import Bounds
from pipelines.ingestion.rules import (
    Rules,
    after,
    between,
    equal,
    given,
    matches,
    one_of,
)
from usecases.flights.facts import MEASURED_COLUMNS
from usecases.flights.schema import CARRIERS, ORIGINS

# Bounds on the facts of a batch, from `pipelines.ingestion.batch_facts.compute_batch_facts` and
# `usecases.flights.facts`. They are well outside the values of January to March 2013, which include
# the storm of 8 and 9 February. `n_rows_ratio` was 0.56 on the day after Thanksgiving.
BATCH: dict[str, Bounds] = {
    "planes": {"n_rows": (1000, 20_000), "null_share_year": (0, 0.1)},
    "schedule": {
        "n_rows": (300, 2500),  # 1,785 in the first batch, which holds two days
        "hours_before_end": (0, 20),  # published at midnight in New York, corrected later
        "null_share_tailnum": (0, 0.5),  # 0.25 in the storm
        "null_gap_tailnum": (-1, 0.85),  # 0.65 before the storms
    },
    "outcomes": {
        "n_rows": (200, 2000),  # 502 on the first day, with no departures of the day before
        "hours_before_end": (0, 3),
        "null_share_tailnum": (0, 0.5),  # 0.32 in the storm
        "null_share_arr_delay": (0, 0.95),  # 0.82 in the storm
        "null_gap_tailnum": (-1, 0.85),  # 0.62 in the storm
        "null_gap_arr_delay": (-1, 0.7),  # 0.34 in the storm of March
    },
    "weather": {
        "n_rows": (40, 75),  # 3 stations, 24 hours; 49 on the first day
        "hours_before_end": (0, 4),
        "null_share_temp": (0, 0.25),
        "null_share_wind_dir": (0, 0.25),  # undefined in a calm
        "null_share_wind_speed": (0, 0.25),
        "null_share_pressure": (0, 0.8),  # 0.65 on the worst day of 2013
        # At least 7, for 3 stations together.
        **{f"distinct_{name}": (4, 75) for name in MEASURED_COLUMNS},
        # At most 0.024; with temperatures in °C, at least 1.1.
        "humidity_gap": (0, 0.5),
    },
}

# Bounds on the values of a row. `*_minute` is the minute of a clock time.
FLIGHT: Bounds = {
    "flight": (1, 9999),  # as `usecases.flights.request` accepts
    "block_minutes": (20, 1080),
}
ROW: dict[str, Bounds] = {
    "planes": {"year": (1950, 2014), "engines": (1, 4), "seats": (1, 900)},
    "schedule": {**FLIGHT, "distance": (50, 6000)},
    "outcomes": {
        **FLIGHT,
        "dep_time": (1, 2400), "dep_minute": (0, 59), "dep_delay": (-60, 1440),
        "arr_time": (1, 2400), "arr_minute": (0, 59), "arr_delay": (-120, 1440),
        "air_time": (10, 900),
    },
    "weather": {
        "temp": (-20, 115), "dewp": (-40, 90),  # °F
        "humid": (0, 100), "wind_dir": (0, 360),
        "wind_speed": (0, 100), "wind_gust": (0, 130),  # mph
        "precip": (0, 5), "visib": (0, 10),  # inches, miles
        "pressure": (940, 1060),  # millibars
    },
}  # fmt: skip
WRITTEN_TIME = ["year", "month", "day", "hour"]
GIVEN: dict[str, list[str]] = {
    "planes": ["type", "manufacturer", "model", "engines", "seats", "engine"],
    "schedule": [*WRITTEN_TIME, "minute", "dest", "distance", "time_hour", "sched_arr"],
    "outcomes": ["dest", "sched_arr"],
    "weather": [*WRITTEN_TIME, "precip", "visib"],
}


def row_rules(feed: str) -> Rules:
    """Return the rules for every row of `feed`, with the columns that `schema.checks` adds."""
    named = [given(column, f"{column} is given") for column in GIVEN[feed]]
    return [*named, *between(ROW[feed]), *_related()[feed]]


def _related() -> dict[str, Rules]:
    """Return by feed the rules on text, and those that relate the columns of a row.

    New objects at each call: an expectation belongs to one suite.
    """
    tail_number = matches("tailnum", r"^[A-Z][0-9A-Z]{3,5}\Z", "tailnum is a registration")
    flight_row = [
        one_of("carrier", CARRIERS),
        one_of("origin", ORIGINS),
        matches("dest", r"^[A-Z]{3}\Z", "dest is an IATA code"),
        tail_number,
        after("sched_arr", "sched_dep", "arrival is scheduled after departure"),
    ]
    return {
        "planes": [tail_number],
        "schedule": [
            *flight_row,
            after("sched_dep", "known_at", "published before departure"),
            equal("written_minute", "local_minute", "local time agrees with UTC"),
            equal("time_hour", "hour_of_departure", "time_hour is the hour of departure"),
        ],
        "outcomes": [
            *flight_row,
            given("dep_time", "who landed also left", where="arr_time"),
            given("arr_time", "an arrival delay implies an arrival", where="arr_delay"),
            given("air_time", "an arrival delay implies minutes in the air", where="arr_delay"),
            # Otherwise a lost delay would label a flight that landed as disrupted.
            given("arr_delay", "minutes in the air imply an arrival delay", where="air_time"),
            given("dep_delay", "who left has a departure delay", where="dep_time"),
            equal("written_clock", "departure_clock", "departure agrees with its delay"),
            # Compares only the minute, which no time zone shifts.
            equal("arr_minute", "minute_of_arrival", "arrival agrees with its delay"),
            # A row known before its flight landed would leak the label.
            after("known_at", "settled_at", "not known before it happened", or_equal=True),
        ],
        "weather": [
            one_of("origin", ORIGINS),
            after("temp", "dewp", "dew point is not above temperature", or_equal=True),
            equal("written_hour", "local_hour", "local time agrees with UTC"),
            after("known_at", "time_hour", "not known before it was observed"),
        ],
    }
