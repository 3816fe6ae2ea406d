"""The one definition of the features: how each table is computed, and Feast's view of it beside it.

A compute function takes `read(feed, first_day, last_day)`, which gives validated rows, and the
first and last UTC day to build. It returns entity keys, features, `event_timestamp` (UTC) and
`day`, the batch that completes the row. Whoever builds adds `created`, the time of publishing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from usecase.columns import CARRIER, ON_DEMAND, ORIGIN, ROUTE, TAIL, WEATHER, Names, names
from usecase.schema import CARRIERS, ORIGINS
from usecase.source import FIRST_DAY
from usecase.windows import at_change_points, every_hour

Read = Callable[[str, date, date], pd.DataFrame]
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
route = Entity(name="route", join_keys=["route"], value_type=ValueType.STRING)
tail = Entity(name="tailnum", join_keys=["tailnum"], value_type=ValueType.STRING)


def _view(table: str, entity: Entity, columns: list[str], ttl: timedelta) -> FeatureView:
    return FeatureView(
        name=table,
        entities=[entity],
        ttl=ttl,
        schema=[Field(name=column, dtype=Float64) for column in columns],
        source=FileSource(
            name=f"{table}_source",
            path=f"data/features/{table}/*.parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    )


def _completed_by_hour(rows: pd.DataFrame, first: date, last: date) -> pd.DataFrame:
    """Keeps the rows of the hours that end in the days asked for: (first 00:00, last 24:00]."""
    rows["day"] = (rows["event_timestamp"] - HOUR).dt.date
    return rows[(rows["day"] >= first) & (rows["day"] <= last)]


# Weather at the origin, an hour after it was observed.
def weather(read: Read, first: date, last: date) -> pd.DataFrame:
    rows = read("weather", first, last)
    rows = rows.assign(event_timestamp=rows["known_at"], day=rows["known_at"].dt.date)
    return rows[["origin", *WEATHER, "event_timestamp", "day"]].astype(
        dict.fromkeys(WEATHER, "float64")
    )


weather_view = _view("weather", origin, WEATHER, ttl=3 * HOUR)

# Delays of the flights that landed (or failed to) in the last hours. Origins and carriers have a
# row every hour; routes and tail numbers only where a window changes.


def _outcomes(read: Read, first: date, last: date) -> pd.DataFrame:
    rows = read("outcomes", first - DAY, last)  # the longest window reaches a day back
    return rows.assign(route=rows["origin"] + "-" + rows["dest"])


def _hourly(
    read: Read, first: date, last: date, by: str, entities: tuple[str, ...],
    names: Names,
) -> pd.DataFrame:  # fmt: skip
    start, end = pd.Timestamp(first, tz="UTC"), pd.Timestamp(last, tz="UTC") + DAY
    rows = every_hour(_outcomes(read, first, last), by, entities, names, start, end)
    return _completed_by_hour(rows, first, last)


def origin_delays(read: Read, first: date, last: date) -> pd.DataFrame:
    return _hourly(read, first, last, "origin", ORIGINS, ORIGIN)


def carrier_delays(read: Read, first: date, last: date) -> pd.DataFrame:
    return _hourly(read, first, last, "carrier", CARRIERS, CARRIER)


def route_delays(read: Read, first: date, last: date) -> pd.DataFrame:
    rows = at_change_points(_outcomes(read, first, last), "route", ROUTE)
    return _completed_by_hour(rows, first, last)


def tail_delays(read: Read, first: date, last: date) -> pd.DataFrame:
    outcomes = _outcomes(read, first, last).dropna(subset=["tailnum"])
    return _completed_by_hour(at_change_points(outcomes, "tailnum", TAIL), first, last)


origin_delays_view = _view("origin_delays", origin, names(ORIGIN), ttl=2 * HOUR)
carrier_delays_view = _view("carrier_delays", carrier, names(CARRIER), ttl=2 * HOUR)
route_delays_view = _view("route_delays", route, names(ROUTE), ttl=2 * DAY)
tail_delays_view = _view("tail_delays", tail, names(TAIL), ttl=2 * DAY)


# Planes in coarse bands. A plane that is not in the register, or a flight without a tail number,
# takes its carrier's typical plane: only cancelled flights lack the number, so a gap (or a value
# that no real plane has) would tell the label.
def planes(read: Read, first: date, last: date) -> pd.DataFrame:
    rows = read("planes", first, last)
    rows = rows.assign(
        registered_size=pd.cut(rows["seats"], [0, 60, 100, 160, 200, 1000], labels=False),
        registered_age=((FIRST_DAY.year - rows["year"]) // 5).clip(0, 6),
        event_timestamp=rows["known_at"].dt.floor("h") + HOUR,
        day=rows["known_at"].dt.date,
    ).dropna(subset=["registered_size", "registered_age"])
    columns = ["registered_size", "registered_age"]
    return rows[["tailnum", *columns, "event_timestamp", "day"]].astype(
        dict.fromkeys(columns, "float64")
    )


def fleets(read: Read, first: date, last: date) -> pd.DataFrame:
    """The median size and age band of the planes that each carrier schedules for the next day."""
    known = planes(read, FIRST_DAY, last).set_index("tailnum")[
        ["registered_size", "registered_age"]
    ]
    rows = _published(read("schedule", first, last)).join(known, on="tailnum")
    typical = rows.groupby(["event_timestamp", "day"])[list(known)].quantile(interpolation="lower")
    fleet = rows.groupby(["event_timestamp", "day", "carrier"])[list(known)].quantile(
        interpolation="lower"
    )
    every = pd.MultiIndex.from_frame(
        typical.index.to_frame(index=False).merge(pd.DataFrame({"carrier": CARRIERS}), how="cross")
    )
    fleet = fleet.reindex(every)
    fleet = fleet.fillna(typical.reindex(every.droplevel("carrier")).set_axis(every))
    fleet = fleet.rename(columns={"registered_size": "fleet_size", "registered_age": "fleet_age"})
    return fleet.reset_index()


def routes(read: Read, first: date, last: date) -> pd.DataFrame:
    rows = _published(read("schedule", first, last))
    rows = rows.assign(
        route=rows["origin"] + "-" + rows["dest"], distance=rows["distance"].astype("float64")
    )
    columns = ["route", "distance", "event_timestamp", "day"]
    return rows[columns].drop_duplicates(["route", "event_timestamp"], ignore_index=True)


def _published(schedule: pd.DataFrame) -> pd.DataFrame:
    known = schedule["known_at"]
    return schedule.assign(event_timestamp=known.dt.floor("h") + HOUR, day=known.dt.date)


planes_view = _view("planes", tail, ["registered_size", "registered_age"], ttl=3650 * DAY)
fleets_view = _view("fleets", carrier, ["fleet_size", "fleet_age"], ttl=3 * DAY)
routes_view = _view("routes", route, ["distance"], ttl=60 * DAY)

# Each table: how it is computed, and the feed whose batches make it due.
TABLES: dict[str, tuple[Callable[[Read, date, date], pd.DataFrame], str]] = {
    "weather": (weather, "weather"),
    "origin_delays": (origin_delays, "outcomes"),
    "carrier_delays": (carrier_delays, "outcomes"),
    "route_delays": (route_delays, "outcomes"),
    "tail_delays": (tail_delays, "outcomes"),
    "planes": (planes, "planes"),
    "fleets": (fleets, "schedule"),
    "routes": (routes, "schedule"),
}
VIEWS = [
    weather_view, origin_delays_view, carrier_delays_view, route_delays_view, tail_delays_view,
    planes_view, fleets_view, routes_view,
]  # fmt: skip

# What the request itself brings: the scheduled departure, in seconds since 1970 (UTC).
request = RequestSource(name="request", schema=[Field(name="sched_dep_epoch", dtype=Int64)])


@on_demand_feature_view(
    name="on_demand",
    sources=[request, carrier_delays_view, tail_delays_view, planes_view, fleets_view],
    schema=[Field(name=name, dtype=Float64) for name in ON_DEMAND],
    mode="python",
)
def on_demand(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Calendar of the local departure, and the plane's features with the carrier's in the gaps."""
    # Feast keeps this function's text in its registry and runs it from there, without this module.
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    from usecase.target import TIME_ZONE

    def absent(value: Any) -> bool:
        return value is None or value != value

    def filled(name: str, fallback: str) -> list[Any]:
        pairs = zip(inputs[name], inputs[fallback], strict=True)
        chosen = [second if absent(first) else first for first, second in pairs]
        return [float("nan") if absent(value) else float(value) for value in chosen]

    zone = ZoneInfo(TIME_ZONE)
    local = [datetime.fromtimestamp(at, UTC).astimezone(zone) for at in inputs["sched_dep_epoch"]]
    return {
        "hour": [float(at.hour) for at in local],
        "minute_of_day": [float(at.hour * 60 + at.minute) for at in local],
        "weekday": [float(at.weekday()) for at in local],
        "plane_size": filled("registered_size", "fleet_size"),
        "plane_age": filled("registered_age", "fleet_age"),
        "plane_delay_rate_6h": filled("tail_delay_rate_6h", "carrier_delay_rate_6h"),
        "plane_mean_delay_6h": filled("tail_mean_delay_6h", "carrier_mean_delay_6h"),
        "plane_delay_rate_24h": filled("tail_delay_rate_24h", "carrier_delay_rate_24h"),
        "plane_mean_delay_24h": filled("tail_mean_delay_24h", "carrier_mean_delay_24h"),
    }


# What is looked up online; the on-demand view is applied after stale rows have been dropped.
LOOKUP = FeatureService(name="disruption_lookup", features=VIEWS)
SERVICE = FeatureService(
    name="disruption",
    features=[
        weather_view, origin_delays_view, carrier_delays_view, route_delays_view, routes_view,
        on_demand,
    ],
)  # fmt: skip
OBJECTS = [origin, carrier, route, tail, *VIEWS, on_demand, LOOKUP, SERVICE]
