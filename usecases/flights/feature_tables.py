"""The feature tables: per table a function that computes it from validated batches.

- `weather`: weather at the origin
- `origin_delays`, `carrier_delays`, `route_delays`, `tail_delays`: recent delays, by `windows.py`
- `planes`, `fleets`, `routes`: a flight's plane, its carrier's typical plane, its distance

A compute function takes `read(feed, first_day, last_day)`, which returns validated rows, and the
first and last UTC day to build. It returns entity keys, features, `event_timestamp` (UTC) and
`day`, the batch that completes the row. `features/table_builder.py` adds `created`, the time of
publishing. The days read have fixed distances from `first` and `last`, or start at a fixed day.

If a batch restates a row of an earlier batch, the newest row known at a moment counts
(`features/statements.py`).
"""

from collections.abc import Sequence
from datetime import date, timedelta

import pandas as pd

from contract import ComputeTable, Read, Tables
from features.statements import newest
from usecases.flights.columns import (
    BANDS,
    CARRIER,
    KEY,
    ORIGIN,
    ROUTE,
    TAIL,
    WEATHER,
    WindowColumns,
)
from usecases.flights.schema import CARRIERS, ORIGINS
from usecases.flights.source import FIRST_DAY
from usecases.flights.windows import add_counting_hours, windows_at_changes, windows_every_hour

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
AHEAD = 2 * DAY  # a flight is first stated at most this long before departure


def weather(read: Read, first: date, last: date) -> pd.DataFrame:
    """Return each observation as a feature one hour after it was observed."""
    rows = read("weather", first - DAY, last)
    rows = rows.assign(event_timestamp=rows["known_at"], day=rows["known_at"].dt.date)
    rows = rows[_newest_observed(rows) & (rows["day"] >= first)]
    return rows[["origin", *WEATHER, "event_timestamp", "day"]].astype(
        dict.fromkeys(WEATHER, "float64")
    )


def _newest_observed(rows: pd.DataFrame) -> pd.Series:
    """Return whether a row was its origin's newest observation, of its day and the day before.

    Otherwise a correction of an earlier hour would hide a newer observation.
    """
    order = ["origin", "known_at", "time_hour"]
    known = rows.sort_values(order, kind="stable")
    today = known.groupby(["origin", "day"])["time_hour"].cummax()
    last = known.groupby(["origin", "day"])["time_hour"].max()
    before = pd.MultiIndex.from_arrays([known["origin"], known["day"] - DAY])
    yesterday = last.reindex(before).set_axis(known.index)
    behind = (known["time_hour"] < today) | (known["time_hour"] < yesterday)
    together = known.duplicated(["origin", "known_at"], keep="last")
    return ~(behind | together).reindex(rows.index)


def recent_delays(
    by: str, names: WindowColumns, entities: Sequence[str] | None = None
) -> ComputeTable:
    """Return a compute function of the number of flights, delay rate and mean delay (minutes).

    The table has a row of each of `entities` every hour. Without `entities`, it has a row only when
    a window changes.
    """

    def compute(read: Read, first: date, last: date) -> pd.DataFrame:
        rows = read("outcomes", first - DAY, last)  # the longest window reaches a day back
        outcomes = add_counting_hours(rows.assign(route=rows["origin"] + "-" + rows["dest"]))
        if entities is None:
            rows = windows_at_changes(outcomes.dropna(subset=[by]), by, names)
        else:
            start, end = pd.Timestamp(first, tz="UTC"), pd.Timestamp(last, tz="UTC") + DAY
            rows = windows_every_hour(outcomes, by, entities, names, start, end)
        # The hours that end in the days to build: (first 00:00, last 24:00].
        rows["day"] = (rows["event_timestamp"] - HOUR).dt.date
        return rows[(rows["day"] >= first) & (rows["day"] <= last)]

    return compute


# Planes in coarse bands. A flight gets its carrier's typical plane if it has no tail number, or if
# the register lacks the plane. Only cancelled flights lack the number: a missing value, or a value
# that no real plane has, would leak the label.


def planes(read: Read, first: date, last: date) -> pd.DataFrame:
    """Return the size and age band of each registered plane."""
    rows = _published(read("planes", first, last), ["tailnum"])
    rows = rows.assign(
        registered_size=pd.cut(rows["seats"], [0, 60, 100, 160, 200, 1000], labels=False),
        registered_age=((FIRST_DAY.year - rows["year"]) // 5).clip(0, 6),
    ).dropna(subset=["registered_size", "registered_age"])
    return rows[["tailnum", *BANDS, "event_timestamp", "day"]].astype(
        dict.fromkeys(BANDS, "float64")
    )


def fleets(read: Read, first: date, last: date) -> pd.DataFrame:
    """Return the median size and age band of the planes that each carrier has planned."""
    rows = _published(read("schedule", first - AHEAD, last), KEY)
    rows = rows.assign(entity=rows.groupby(KEY, dropna=False).ngroup())
    rows = rows[["entity", "carrier", "tailnum", "known_at", "event_timestamp", "day"]]
    by_day = dict(list(rows.groupby("day")))
    plans = [
        _planned(known, event)
        for day in by_day
        if day >= first
        for known in [_recent_rows(by_day, day)]
        for event in sorted(by_day[day]["event_timestamp"].unique())
    ]
    rows = pd.merge_asof(
        pd.concat(plans, ignore_index=True),
        planes(read, FIRST_DAY, last).drop(columns="day").sort_values("event_timestamp"),
        on="event_timestamp", by="tailnum",
    )  # fmt: skip
    typical = rows.groupby(["event_timestamp", "day"])[BANDS].quantile(interpolation="lower")
    fleet = rows.groupby(["event_timestamp", "day", "carrier"])[BANDS].quantile(
        interpolation="lower"
    )
    every = pd.MultiIndex.from_frame(
        typical.index.to_frame(index=False).merge(pd.DataFrame({"carrier": CARRIERS}), how="cross")
    )
    fleet = fleet.reindex(every)
    fleet = fleet.fillna(typical.reindex(every.droplevel("carrier")).set_axis(every))
    fleet = fleet.rename(columns={"registered_size": "fleet_size", "registered_age": "fleet_age"})
    return fleet.reset_index()


def _recent_rows(by_day: dict[date, pd.DataFrame], day: date) -> pd.DataFrame:
    """Return the rows of `day` and of the earlier days that may first state its flights."""
    days = (day - AHEAD + number * DAY for number in range(AHEAD // DAY + 1))
    return pd.concat([by_day[each] for each in days if each in by_day])


def _planned(rows: pd.DataFrame, event: pd.Timestamp) -> pd.DataFrame:
    """Return the newest plan as known at `event`: the flights first stated on its day.

    A corrected flight remains in the plan that first stated it, within the days read.
    """
    known = rows[rows["event_timestamp"] <= event]
    # Rows are in the order of days, so the first statement is that of the first day.
    first = ~known.duplicated("entity")
    plan = known.loc[first & (known["day"] == known.loc[first, "day"].iloc[-1]), "entity"]
    stated = newest(known[known["entity"].isin(plan)], ["entity"])
    return stated.assign(event_timestamp=event, day=known["day"].iloc[-1])


def routes(read: Read, first: date, last: date) -> pd.DataFrame:
    """Return the distance of each scheduled route."""
    rows = _published(read("schedule", first, last), KEY)
    rows = rows.assign(
        route=rows["origin"] + "-" + rows["dest"], distance=rows["distance"].astype("float64")
    )
    columns = ["route", "distance", "event_timestamp", "day"]
    return rows[columns].drop_duplicates(["route", "event_timestamp"], ignore_index=True)


def _published(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Return the rows with the hour of their publication: the newest of a key in each hour."""
    known = rows["known_at"]
    rows = rows.assign(event_timestamp=known.dt.floor("h") + HOUR, day=known.dt.date)
    return newest(rows, [*key, "event_timestamp"])


# For each table: its compute function, and the feed whose batches make it due.
TABLES: Tables = {
    "weather": (weather, "weather"),
    "origin_delays": (recent_delays("origin", ORIGIN, ORIGINS), "outcomes"),
    "carrier_delays": (recent_delays("carrier", CARRIER, CARRIERS), "outcomes"),
    "route_delays": (recent_delays("route", ROUTE), "outcomes"),
    "tail_delays": (recent_delays("tailnum", TAIL), "outcomes"),
    "planes": (planes, "planes"),
    "fleets": (fleets, "schedule"),
    "routes": (routes, "schedule"),
}
