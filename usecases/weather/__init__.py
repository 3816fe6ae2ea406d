"""Bad weather at the airports of New York: rain, or visibility below ten miles, in three hours.

A decision an hour for each airport, on the observations of 2013. `source.py` reads them,
`request.py` has the request, `feature_views.py` Feast's definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from contract import Bounds, Change, FeatureViews, Predict, Read, Tables, UseCase

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from usecases.weather.request import HourRequest

LEAD, HOUR, DAY = timedelta(hours=3), timedelta(hours=1), timedelta(days=1)
PAST_THE_HOUR = timedelta(minutes=10)  # when a decision is taken: the last observation is published
FIRST_DAY, LAST_DAY = date(2013, 1, 1), date(2013, 12, 30)
ORIGINS = ("EWR", "JFK", "LGA")
OBSERVED = {
    "temp": (-20, 115), "dewp": (-40, 90), "humid": (0, 100), "wind_speed": (0, 100),
    "precip": (0, 5), "pressure": (940, 1060), "visib": (0, 10),
}  # fmt: skip
WINDOWS = (1, 3, 6, 12, 24)  # hours
BAD = [f"bad_{hours}h" for hours in WINDOWS]
CHANGES = ["pressure_change_3h", "humid_change_3h"]


class Weather(UseCase):
    name = "weather"
    feeds = {"hours": ["origin", "time_hour"], "observations": ["origin", "time_hour"]}
    spine_feed, label_feed = "hours", "observations"
    cadence, horizon = HOUR, timedelta(hours=4)
    categories = ["origin"]
    numbers = ["hour", *OBSERVED, *BAD, *CHANGES]

    def due(self, feed: str, day: date) -> bool:
        return FIRST_DAY <= day <= LAST_DAY

    def schema(self, feed: str) -> pa.Schema:
        import pyarrow as pa

        time = pa.timestamp("us", "UTC")
        values = dict.fromkeys(OBSERVED, pa.float64()) if feed == "observations" else {}
        columns = {"origin": pa.string(), "time_hour": time, **values, "known_at": time}
        return pa.schema(columns.items())

    def fetch(self, feed: str, day: date) -> pd.DataFrame:
        import pandas as pd

        start = pd.Timestamp(day, tz="UTC").as_unit("us")
        if feed == "hours":  # those of the next day
            times = pd.date_range(start + DAY, periods=24, freq="h", unit="us")
            rows = pd.MultiIndex.from_product([ORIGINS, times], names=["origin", "time_hour"])
            return rows.to_frame(index=False).assign(known_at=start)
        from usecases.weather.source import read_observations

        rows = read_observations()
        rows = rows[(rows["known_at"] >= start) & (rows["known_at"] < start + DAY)]
        return rows[self.schema(feed).names].reset_index(drop=True)

    def world_time(self, now: datetime, *, as_of: datetime, since: datetime) -> datetime:
        return as_of + (now - since)

    def row_rules(self, feed: str) -> Sequence[Any]:
        from pipelines.ingestion.rules import after, between, one_of

        rules = [one_of("origin", ORIGINS)]
        if feed == "observations":
            observed = after("known_at", "time_hour", "not known before it was observed")
            rules += [observed, *between(OBSERVED)]
        return rules

    def batch_bounds(self, feed: str) -> Bounds:
        return {"n_rows": (40, 75)}

    def spine(self, rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.drop_duplicates(["origin", "time_hour"], ignore_index=True)
        at = rows["time_hour"]
        return rows[["origin"]].assign(
            key=at.dt.strftime("%Y-%m-%dT%HZ:") + rows["origin"],
            decision_time=at + PAST_THE_HOUR, hour=at.dt.hour.astype("float64"),
        )  # fmt: skip

    def labels(self, rows: pd.DataFrame) -> pd.DataFrame:
        from features.statements import changed_statements

        decided = (rows["time_hour"] - LEAD).dt.strftime("%Y-%m-%dT%HZ:")
        labels = rows[["known_at"]].assign(key=decided + rows["origin"], label=is_bad(rows))
        return changed_statements(labels[["key", "label", "known_at"]], ["key"], "label")

    def tables(self) -> Tables:
        return {"observed": (observed, "observations")}

    def views(self) -> FeatureViews:
        from usecases.weather.feature_views import DEFINITIONS

        return DEFINITIONS

    def candidates(self, params: Mapping[str, Any]) -> Mapping[str, tuple[Any, dict[str, Any]]]:
        from pipelines.training.estimators import boosted_trees, search_space

        trees = boosted_trees(self.categories, self.numbers, params["seed"])
        return {"gradient_boosting": (trees, search_space(params))}

    def baseline(self, train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
        """The rate that followed the present weather."""
        import numpy as np

        rates = train.groupby(train["bad_1h"].fillna(0.0))["label"].mean()
        return np.asarray(rows["bad_1h"].fillna(0.0).map(rates).fillna(train["label"].mean()))

    def slices(self, frame: pd.DataFrame) -> Mapping[str, pd.Series]:
        return {"origin": frame["origin"].astype(str)}

    def behaviours(
        self, predict: Predict, rows: pd.DataFrame, limits: Mapping[str, Any]
    ) -> Mapping[str, Change]:
        wet = rows.assign(precip=0.1, visib=2.0, humid=97.0, **dict.fromkeys(BAD, 1.0))
        rise = float(predict(wet).mean() - predict(rows).mean())
        return {"direction: rain raises the risk": Change(rise, limits["rain_raises"])}

    def request(self) -> type[HourRequest]:
        from usecases.weather.request import HourRequest

        return HourRequest

    def key(self, request: HourRequest) -> str:
        return f"{request.time.astimezone(UTC):%Y-%m-%dT%HZ}:{request.origin}"

    def decision_time(self, request: HourRequest) -> datetime:
        return request.time.astimezone(UTC) + PAST_THE_HOUR

    def entity_row(self, request: HourRequest) -> Mapping[str, Any]:
        return {"origin": request.origin, "hour": float(request.time.astimezone(UTC).hour)}

    def payload(self, case: Mapping[str, Any]) -> dict[str, Any]:
        at = case["decision_time"] - PAST_THE_HOUR
        return {"origin": case["origin"], "time": at.isoformat()}


def is_bad(rows: pd.DataFrame) -> pd.Series:
    return ((rows["precip"] > 0) | (rows["visib"] < 10)).astype("int8")


def observed(read: Read, first: date, last: date) -> pd.DataFrame:
    """Return each observation, changes since three hours before, and hours with bad weather."""
    rows = read("observations", first - 2 * DAY, last).sort_values(["origin", "known_at"])
    # A correction of an earlier hour would hide a newer observation.
    rows = rows[rows["time_hour"] >= rows.groupby("origin")["time_hour"].cummax()]
    rows = rows.drop_duplicates(["origin", "time_hour"], keep="last", ignore_index=True)
    before = rows[["origin", "time_hour", "pressure", "humid"]]
    before = before.assign(time_hour=before["time_hour"] + LEAD)
    then = rows[["origin", "time_hour"]].merge(before, on=["origin", "time_hour"], how="left")
    rows = rows.assign(bad=is_bad(rows).astype("float64"))
    by_origin = rows.set_index("time_hour").groupby("origin")["bad"]
    # Sums of whole numbers: a day built alone gives the same bits as a whole year.
    counts = {f"bad_{hours}h": by_origin.rolling(f"{hours}h").sum() for hours in WINDOWS}
    rows = rows.assign(
        pressure_change_3h=rows["pressure"] - then["pressure"],
        humid_change_3h=rows["humid"] - then["humid"],
        **{name: count.to_numpy() for name, count in counts.items()},
        event_timestamp=rows["known_at"], day=rows["known_at"].dt.date,
    )  # fmt: skip
    return rows[rows["day"] >= first].drop(columns=["bad", "time_hour", "known_at"])


USE_CASE = Weather()
