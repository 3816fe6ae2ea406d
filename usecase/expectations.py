"""Row and batch rules of each feed, as suites for Great Expectations.

A broken row rule quarantines the row; a broken batch rule refuses the whole batch. `meta["rule"]`
describes the rule in the quarantine. No rule uses `mostly`: rows pass or fail one by one, and
shares are facts of the batch. `schema.py` declares columns and types. For every feed, a row must
have become known within its batch's day: `pipelines/ingestion/expectation_suites.py` checks this.
"""

import great_expectations.expectations as gxe
from great_expectations.expectations.row_conditions import Column

from usecase.facts import MEASURED_COLUMNS
from usecase.schema import CARRIERS, KEYS, ORIGINS

Rules = list[gxe.Expectation]
Bounds = dict[str, tuple[float, float]]

# Bounds on the facts of a batch, from `pipelines.ingestion.batch_facts.compute_batch_facts` and
# `usecase.facts`. They are well outside the values of January to March 2013, which include the
# storm of 8 and 9 February.
EVERY_BATCH: Bounds = {
    "n_rows_ratio": (0.5, 2),  # 0.56 on the day after Thanksgiving
    "duplicate_share": (0, 0.05),
    "quarantined_share": (0, 0.05),
}
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
    "flight": (1, 9999),  # as `usecase.request` accepts
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


def batch_rules(feed: str) -> Rules:
    """Return bounds on the facts of a batch, for a frame with one row per batch."""
    return _between({**EVERY_BATCH, **BATCH[feed]})


def row_rules(feed: str) -> Rules:
    """Return the rules for every row of `feed`, with the columns that `schema.checks` adds."""
    unique = gxe.ExpectCompoundColumnsToBeUnique(
        column_list=[*KEYS[feed], "batch_day"],
        ignore_row_if="any_value_is_missing",
        # It is unknown which of two rows is right, so both go to quarantine.
        meta={"rule": "key is unique in its batch"},
    )
    given = [_given(column, f"{column} is given") for column in [*KEYS[feed], *GIVEN[feed]]]
    return [*given, unique, *_between(ROW[feed]), *_related()[feed]]


def _related() -> dict[str, Rules]:
    """Return by feed the rules on text, and those that relate the columns of a row.

    New objects at each call: an expectation belongs to one suite.
    """
    tail_number = _matches("tailnum", r"^[A-Z][0-9A-Z]{3,5}\Z", "tailnum is a registration")
    flight_row = [
        _one_of("carrier", CARRIERS),
        _one_of("origin", ORIGINS),
        _matches("dest", r"^[A-Z]{3}\Z", "dest is an IATA code"),
        tail_number,
        _after("sched_arr", "sched_dep", "arrival is scheduled after departure"),
    ]
    return {
        "planes": [tail_number],
        "schedule": [
            *flight_row,
            _after("sched_dep", "known_at", "published before departure"),
            _equal("written_minute", "local_minute", "local time agrees with UTC"),
            _equal("time_hour", "hour_of_departure", "time_hour is the hour of departure"),
        ],
        "outcomes": [
            *flight_row,
            _given("dep_time", "who landed also left", where="arr_time"),
            _given("arr_time", "an arrival delay implies an arrival", where="arr_delay"),
            _given("air_time", "an arrival delay implies minutes in the air", where="arr_delay"),
            # Otherwise a lost delay would label a flight that landed as disrupted.
            _given("arr_delay", "minutes in the air imply an arrival delay", where="air_time"),
            _given("dep_delay", "who left has a departure delay", where="dep_time"),
            _equal("written_clock", "departure_clock", "departure agrees with its delay"),
            # Compares only the minute, which no time zone shifts.
            _equal("arr_minute", "minute_of_arrival", "arrival agrees with its delay"),
            # A row known before its flight landed would leak the label.
            _after("known_at", "settled_at", "not known before it happened", or_equal=True),
        ],
        "weather": [
            _one_of("origin", ORIGINS),
            _after("temp", "dewp", "dew point is not above temperature", or_equal=True),
            _equal("written_hour", "local_hour", "local time agrees with UTC"),
            _after("known_at", "time_hour", "not known before it was observed"),
        ],
    }


def _between(bounds: Bounds) -> Rules:
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, meta={"rule": f"{column} within bounds"}
        )
        for column, (low, high) in bounds.items()
    ]


def _given(column: str, rule: str, *, where: str | None = None) -> gxe.Expectation:
    """Return the rule that a value is given, in all rows or in those where another is given."""
    condition = Column(where).is_not_null() if where else None
    return gxe.ExpectColumnValuesToNotBeNull(
        column=column, row_condition=condition, meta={"rule": rule}
    )


def _one_of(column: str, values: tuple[str, ...]) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToBeInSet(
        column=column, value_set=list(values), meta={"rule": f"{column} is known"}
    )


def _matches(column: str, regex: str, rule: str) -> gxe.Expectation:
    # `\Z` ends a pattern: `$` also matches before a line break, and a key would get it.
    return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=regex, meta={"rule": rule})


# Other rules check for missing values.
def _equal(a: str, b: str, rule: str) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesToBeEqual(
        column_A=a, column_B=b, ignore_row_if="either_value_is_missing", meta={"rule": rule}
    )


def _after(later: str, earlier: str, rule: str, *, or_equal: bool = False) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=later, column_B=earlier, or_equal=or_equal,
        ignore_row_if="either_value_is_missing", meta={"rule": rule},
    )  # fmt: skip
