"""Feast's definitions: a view of each table in `feature_tables.py`, and the features on demand."""

from datetime import timedelta
from functools import partial
from typing import Any

from feast import Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from contract import FeatureViews
from features.views import entity, table_view
from usecases.flights.columns import (
    BANDS,
    CARRIER,
    ON_DEMAND,
    ORIGIN,
    ROUTE,
    TAIL,
    WEATHER,
    window_columns,
)

DAY, HOUR = timedelta(days=1), timedelta(hours=1)

ENTITIES = {name: entity(name) for name in ("origin", "carrier", "route", "tailnum")}


_view = partial(table_view, "flights")
VIEWS = [
    _view("weather", ENTITIES["origin"], WEATHER, ttl=3 * HOUR),
    _view("origin_delays", ENTITIES["origin"], window_columns(ORIGIN), ttl=2 * HOUR),
    _view("carrier_delays", ENTITIES["carrier"], window_columns(CARRIER), ttl=2 * HOUR),
    _view("route_delays", ENTITIES["route"], window_columns(ROUTE), ttl=2 * DAY),
    _view("tail_delays", ENTITIES["tailnum"], window_columns(TAIL), ttl=2 * DAY),
    _view("planes", ENTITIES["tailnum"], BANDS, ttl=3650 * DAY),
    _view("fleets", ENTITIES["carrier"], ["fleet_size", "fleet_age"], ttl=3 * DAY),
    _view("routes", ENTITIES["route"], ["distance"], ttl=60 * DAY),
]
VIEW = {view.name: view for view in VIEWS}

# The request provides the scheduled departure, in seconds since 1970 (UTC).
request = RequestSource(name="request", schema=[Field(name="sched_dep_epoch", dtype=Int64)])


@on_demand_feature_view(
    name="on_demand",
    sources=[request, VIEW["carrier_delays"], VIEW["tail_delays"], VIEW["planes"], VIEW["fleets"]],
    schema=[Field(name=name, dtype=Float64) for name in ON_DEMAND],
    mode="python",
)
def on_demand(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Calendar of the local departure, and the plane's features with the carrier's in the gaps."""
    # Feast keeps this function's text in its registry and runs it from there, without this module.
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    from usecases.flights.target import TIME_ZONE

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


DEFINITIONS = FeatureViews(list(ENTITIES.values()), VIEWS, on_demand)
