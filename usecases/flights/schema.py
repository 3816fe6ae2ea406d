"""Schemas of the feeds: columns, types, keys, and the columns that rules compare."""

import pandas as pd
import pyarrow as pa

from usecases.flights.target import TIME_ZONE

ORIGINS = ("EWR", "JFK", "LGA")
CARRIERS = (
    "9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV",
)  # fmt: skip

_TEXT, _WHOLE, _NUMBER, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", "UTC")
_DATE = {"year": _WHOLE, "month": _WHOLE, "day": _WHOLE, "hour": _WHOLE}
_FLIGHT = {"carrier": _TEXT, "flight": _WHOLE, "tailnum": _TEXT, "origin": _TEXT, "dest": _TEXT}
_TIMES = {"sched_dep": _TIME, "sched_arr": _TIME}

# The columns of a raw partition, in order.
_COLUMNS = {
    "planes": {
        "tailnum": _TEXT, "year": _NUMBER, "type": _TEXT, "manufacturer": _TEXT, "model": _TEXT,
        "engines": _WHOLE, "seats": _WHOLE, "speed": _NUMBER, "engine": _TEXT, "known_at": _TIME,
    },
    "schedule": {
        **_DATE, "minute": _WHOLE, **_FLIGHT, "distance": _WHOLE, "time_hour": _TIME, **_TIMES,
        "known_at": _TIME,
    },
    "outcomes": {
        **_FLIGHT, **_TIMES, "dep_time": _NUMBER, "arr_time": _NUMBER, "dep_delay": _NUMBER,
        "arr_delay": _NUMBER, "air_time": _NUMBER, "known_at": _TIME,
    },
    "weather": {
        "origin": _TEXT, **_DATE, "temp": _NUMBER, "dewp": _NUMBER, "humid": _NUMBER,
        "wind_dir": _NUMBER, "wind_speed": _NUMBER, "wind_gust": _NUMBER, "precip": _NUMBER,
        "pressure": _NUMBER, "visib": _NUMBER, "time_hour": _TIME, "known_at": _TIME,
    },
}  # fmt: skip
SCHEMA = {feed: pa.schema(columns) for feed, columns in _COLUMNS.items()}


def checks(feed: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` of `feed` with added columns for rules that compare columns.

    Each value depends on its own row alone, so a row passes or fails independently of the others.
    """
    added = {"schedule": _schedule, "outcomes": _outcomes, "weather": _weather}.get(feed)
    return rows.assign(**added(rows)) if added else rows


def _schedule(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        "written_minute": _written(rows) * 100 + rows["minute"],
        "local_minute": _clock(rows["sched_dep"], "%Y%m%d%H%M"),
        "hour_of_departure": rows["sched_dep"].dt.floor("h"),
        "block_minutes": _block_minutes(rows),
    }


def _outcomes(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        "block_minutes": _block_minutes(rows),
        # The data contain midnight as 2400 and as 0.
        "written_clock": rows["dep_time"] % 2400,
        "departure_clock": _clock(rows["sched_dep"] + _minutes(rows["dep_delay"]), "%H%M"),
        "dep_minute": rows["dep_time"] % 100,
        "arr_minute": rows["arr_time"] % 100,
        "minute_of_arrival": (rows["sched_arr"] + _minutes(rows["arr_delay"])).dt.minute,
        # A cancelled or diverted flight is settled at its scheduled arrival.
        "settled_at": rows["sched_arr"] + _minutes(rows["arr_delay"].fillna(0)),
    }


def _weather(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {"written_hour": _written(rows), "local_hour": _clock(rows["time_hour"], "%Y%m%d%H")}


def _written(rows: pd.DataFrame) -> pd.Series:
    """Return the local hour from the columns year to hour, as in 2013010105."""
    return ((rows["year"] * 100 + rows["month"]) * 100 + rows["day"]) * 100 + rows["hour"]


def _block_minutes(rows: pd.DataFrame) -> pd.Series:
    """Return the scheduled time from gate to gate, in minutes."""
    return (rows["sched_arr"] - rows["sched_dep"]).dt.total_seconds() / 60


def _clock(times: pd.Series, form: str) -> pd.Series:
    """Return New York time as a number with the parts in `form` (of %Y %m %d %H %M)."""
    local = times.dt.tz_convert(TIME_ZONE).dt
    parts = {"%Y": local.year, "%m": local.month, "%d": local.day, "%H": local.hour}
    number = pd.Series(0.0, index=times.index)
    for name, part in {**parts, "%M": local.minute}.items():
        if name in form:
            number = number * 100 + part
    return number


def _minutes(delay: pd.Series) -> pd.Series:
    # Clipped to ten weeks: an absurd delay must break a rule, not the arithmetic. NaN is filled
    # first, because pandas computes with arbitrary bytes in its place and warns.
    spans = pd.to_timedelta(delay.clip(-1e5, 1e5).fillna(0.0), unit="min")
    return spans.astype("timedelta64[us]").where(delay.notna())
