"""Disruptions: whether a flight from New York will be disrupted, asked two hours before departure.

Disrupted is 15 or more minutes late, cancelled or diverted. The data are the flights of 2013.

- `source.py`: the feeds and their batches; `schema.py`: their columns and types
- `rules.py`, `facts.py`: rules for rows and batches, and the facts that they check
- `target.py`: the cases, their decision time and their label
- `feature_tables.py`: how each feature is computed; `windows.py`, `columns.py`: its helpers
- `feature_views.py`: Feast's definitions of the features
- `model.py`: the candidates, the baseline, slices and behaviours
- `request.py`: the service's request and answer
- `gate_faults.py`, `feed_faults.py`, `feed_changes.py`: faults that the guards must notice
- `params.yaml`, `slice.yaml`, `card.md`: parameters, and the model card
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from contract import Bounds, Change, FeatureViews, FeedFault, GateFault, Predict, Tables, UseCase
from usecases.flights import columns

if TYPE_CHECKING:
    import great_expectations.expectations as gxe
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from usecases.flights.request import PredictRequest, PredictResponse

FIRST_DAY, LAST_DAY = date(2013, 1, 1), date(2013, 12, 31)


class Flights(UseCase):
    """The use case; its modules have the functions, and import what they need."""

    name = "flights"
    time_zone = "America/New_York"
    feeds = {
        "planes": ["tailnum"], "schedule": columns.KEY, "outcomes": columns.KEY,
        "weather": ["origin", "time_hour"],
    }  # fmt: skip
    past_days = FIRST_DAY, LAST_DAY
    cadence = timedelta(days=1)
    horizon = timedelta(0)  # a label is known at arrival, whatever it is
    spine_feed = "schedule"
    label_feed = "outcomes"
    categories = columns.CATEGORIES
    numbers = columns.NUMBERS

    def schema(self, feed: str) -> pa.Schema:
        from usecases.flights import schema

        return schema.SCHEMA[feed]

    def due(self, feed: str, day: date) -> bool:
        if feed == "planes":
            return day == FIRST_DAY
        # The schedule looks a day ahead, and the weather data stop during the last day.
        last = LAST_DAY if feed == "outcomes" else LAST_DAY - timedelta(days=1)
        return FIRST_DAY <= day <= last

    def fetch(self, feed: str, day: date) -> pd.DataFrame:
        from usecases.flights import source

        if not self.due(feed, day):
            raise LookupError(
                f"The feed {feed} publishes nothing on {day}: the data run from {FIRST_DAY} to "
                f"{LAST_DAY} (planes: {FIRST_DAY} only; schedule and weather end a day earlier)."
            )
        return source.fetch(feed, day)

    def checks(self, feed: str, rows: pd.DataFrame) -> pd.DataFrame:
        from usecases.flights import schema

        return schema.checks(feed, rows)

    def facts(self, feed: str, rows: pd.DataFrame) -> Mapping[str, float]:
        from usecases.flights import facts

        return facts.facts(feed, rows)

    def row_rules(self, feed: str) -> Sequence[gxe.Expectation]:
        from usecases.flights import rules

        return rules.row_rules(feed)

    def batch_bounds(self, feed: str) -> Bounds:
        from usecases.flights import rules

        return rules.BATCH[feed]

    def spine(self, rows: pd.DataFrame) -> pd.DataFrame:
        from usecases.flights import target

        return target.spine(rows)

    def labels(self, rows: pd.DataFrame) -> pd.DataFrame:
        from usecases.flights import target

        return target.labels(rows)

    def tables(self) -> Tables:
        from usecases.flights import feature_tables

        return feature_tables.TABLES

    def views(self) -> FeatureViews:
        from usecases.flights import feature_views

        return feature_views.DEFINITIONS

    def candidates(self, params: Mapping[str, Any]) -> Mapping[str, tuple[Any, dict[str, Any]]]:
        from usecases.flights import model

        return model.build_candidates(params)

    def baseline(self, train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
        from usecases.flights import model

        return model.baseline(train, rows)

    def slices(self, frame: pd.DataFrame) -> Mapping[str, pd.Series]:
        from usecases.flights import model

        return model.slices(frame)

    def behaviours(
        self, predict: Predict, rows: pd.DataFrame, limits: Mapping[str, Any]
    ) -> Mapping[str, Change]:
        from usecases.flights import model

        return model.behaviours(predict, rows, limits)

    def request(self) -> type[PredictRequest]:
        from usecases.flights.request import PredictRequest

        return PredictRequest

    def key(self, request: PredictRequest) -> str:
        from usecases.flights.request import key

        return key(request)

    def decision_time(self, request: PredictRequest) -> datetime:
        from usecases.flights.request import decision_time

        return decision_time(request)

    def entity_row(self, request: PredictRequest) -> Mapping[str, Any]:
        from usecases.flights.request import entity_row

        return entity_row(request)

    def payload(self, case: Mapping[str, Any]) -> dict[str, Any]:
        from usecases.flights.request import payload

        return payload(case)

    def response(self) -> type[PredictResponse]:
        from usecases.flights.request import PredictResponse

        return PredictResponse

    def alternatives(self, request: PredictRequest) -> Sequence[tuple[str, PredictRequest]]:
        from usecases.flights.request import alternatives

        return alternatives(request)

    def gate_faults(self) -> Sequence[GateFault]:
        from usecases.flights import gate_faults

        return gate_faults.FAULTS

    def feed_faults(self) -> Sequence[FeedFault]:
        from usecases.flights import feed_faults

        return [*feed_faults.FAULTS, *feed_faults.BENIGN]


USE_CASE = Flights()
