"""What each feed's batches must look like: columns, types, keys, and what rules compare."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from usecase.target import KEY, TIME_ZONE

ORIGINS = ("EWR", "JFK", "LGA")
CARRIERS = (
    "9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV",
)  # fmt: skip

_TEXT, _WHOLE, _NUMBER, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", "UTC")
_DATE = {"year": _WHOLE, "month": _WHOLE, "day": _WHOLE, "hour": _WHOLE}
_FLIGHT = {"carrier": _TEXT, "flight": _WHOLE, "tailnum": _TEXT, "origin": _TEXT, "dest": _TEXT}
_TIMES = {"sched_dep": _TIME, "sched_arr": _TIME}

# The columns of a raw partition, in their order.
SCHEMA: dict[str, pa.Schema] = {
    "planes": pa.schema(
        {
            "tailnum": _TEXT, "year": _NUMBER, "type": _TEXT, "manufacturer": _TEXT,
            "model": _TEXT, "engines": _WHOLE, "seats": _WHOLE, "speed": _NUMBER,
            "engine": _TEXT, "known_at": _TIME,
        }
    ),
    "schedule": pa.schema(
        {
            **_DATE, "minute": _WHOLE, **_FLIGHT, "distance": _WHOLE, "time_hour": _TIME,
            **_TIMES, "known_at": _TIME,
        }
    ),
    "outcomes": pa.schema(
        {
            **_FLIGHT, **_TIMES, "dep_time": _NUMBER, "arr_time": _NUMBER, "dep_delay": _NUMBER,
            "arr_delay": _NUMBER, "air_time": _NUMBER, "known_at": _TIME,
        }
    ),
    "weather": pa.schema(
        {
            "origin": _TEXT, **_DATE, "temp": _NUMBER, "dewp": _NUMBER, "humid": _NUMBER,
            "wind_dir": _NUMBER, "wind_speed": _NUMBER, "wind_gust": _NUMBER, "precip": _NUMBER,
            "pressure": _NUMBER, "visib": _NUMBER, "time_hour": _TIME, "known_at": _TIME,
        }
    ),
}  # fmt: skip

# What makes a row of a batch the only one of its kind.
KEYS: dict[str, list[str]] = {
    "planes": ["tailnum"],
    "schedule": KEY,
    "outcomes": KEY,
    "weather": ["origin", "time_hour"],
}


def checks(feed: str, rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` of `feed` with the columns added that rules between columns compare.

    Each is computed from its own row alone, so that a row is judged the same in any company.
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
        # Midnight is written 2400 and 0.
        "written_clock": rows["dep_time"] % 2400,
        "departure_clock": _clock(rows["sched_dep"] + _minutes(rows["dep_delay"]), "%H%M"),
        "dep_minute": rows["dep_time"] % 100,
        "arr_minute": rows["arr_time"] % 100,
        "minute_of_arrival": (rows["sched_arr"] + _minutes(rows["arr_delay"])).dt.minute,
        # Who never landed where he should is settled when he was due there.
        "settled_at": rows["sched_arr"] + _minutes(rows["arr_delay"].fillna(0)),
    }


def _weather(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {"written_hour": _written(rows), "local_hour": _clock(rows["time_hour"], "%Y%m%d%H")}


def _written(rows: pd.DataFrame) -> pd.Series:
    """The local hour as the columns year to hour write it: 2013010105."""
    return ((rows["year"] * 100 + rows["month"]) * 100 + rows["day"]) * 100 + rows["hour"]


def _block_minutes(rows: pd.DataFrame) -> pd.Series:
    """Scheduled time from gate to gate."""
    return (rows["sched_arr"] - rows["sched_dep"]).dt.total_seconds() / 60


def _clock(times: pd.Series, form: str) -> pd.Series:
    """The local time in New York as a number, its parts as in `form` (of %Y %m %d %H %M)."""
    local = times.dt.tz_convert(TIME_ZONE).dt
    parts = {"%Y": local.year, "%m": local.month, "%d": local.day, "%H": local.hour}
    number = pd.Series(0.0, index=times.index)
    for name, part in {**parts, "%M": local.minute}.items():
        if name in form:
            number = number * 100 + part
    return number


def _minutes(delay: pd.Series) -> pd.Series:
    # Clipped to ten weeks: a delay beyond any sense must break a rule, not the arithmetic. pandas
    # reckons with what lies where a NaN was, which may be anything, and warns of it.
    spans = pd.to_timedelta(delay.clip(-1e5, 1e5).fillna(0.0), unit="min")
    return spans.astype("timedelta64[us]").where(delay.notna())
