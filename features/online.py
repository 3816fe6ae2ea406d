"""What serving sees: the features in the online store, each within its time to live."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from feast import FeatureService

import settings as configuration
from features.store import open_store
from usecase.columns import CATEGORIES, FEATURES
from usecase.feature_views import LOOKUP, VIEWS, on_demand


@dataclass(frozen=True)
class OnlineRow:
    """The model's columns of one case, and the newest event time among the stored features."""

    values: dict[str, float | str | None]
    as_of: datetime | None


class OnlineReader:
    """Looks up the features of cases in Feast's online store.

    Feast does not enforce a view's TTL online: a row older than its view allows would be served
    for ever, and training would not see it. So stale values are dropped here first, and the
    on-demand view is applied after, with the very function that training uses.
    """

    def __init__(self, settings: configuration.Settings) -> None:
        self._store = open_store(settings)
        self._keys = sorted({name for view in VIEWS for name in view.entities})
        self._columns = [
            (field.name, view.ttl.total_seconds() if view.ttl else float("inf"))
            for view in VIEWS
            for field in view.features
        ]
        self._transform = on_demand.feature_transformation.udf

    @cached_property
    def _service(self) -> FeatureService:
        # Not at the start: the service waits for its first release where no feature is registered.
        return self._store.get_feature_service(LOOKUP.name)

    def read(
        self, entity_rows: Sequence[Mapping[str, Any]], decision_times: Sequence[datetime]
    ) -> list[OnlineRow]:
        """One row per case, in order; a value that is absent or stale at its time is None.

        Raises `LoopError` if the online store does not answer.
        """
        found = self._found([{key: row[key] for key in self._keys} for row in entity_rows])
        moments = [at.timestamp() for at in decision_times]
        columns: dict[str, list[Any]] = {}
        newest = [0] * len(entity_rows)
        for name, ttl in self._columns:
            stamps = found[name + "__ts"]
            columns[name] = [
                value if value is not None and now - ttl <= at else None
                for value, at, now in zip(found[name], stamps, moments, strict=True)
            ]
            newest = [max(pair) for pair in zip(newest, stamps, strict=True)]
        columns["sched_dep_epoch"] = [row["sched_dep_epoch"] for row in entity_rows]
        columns |= self._transform(columns)
        for name in CATEGORIES:
            columns[name] = [row[name] for row in entity_rows]
        return [
            OnlineRow(
                {name: _value(columns[name][number]) for name in FEATURES},
                datetime.fromtimestamp(at, UTC) if at else None,
            )
            for number, at in enumerate(newest)
        ]

    def _found(self, entity_rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
        from redis.exceptions import RedisError

        try:
            return self._store.get_online_features(
                features=self._service, entity_rows=entity_rows
            ).to_dict(include_event_timestamps=True)
        except (RedisError, sqlite3.Error, OSError) as error:
            raise configuration.LoopError(
                f"The online store does not answer ({type(error).__name__}: {error}), so there are "
                "no features to predict from. Look at Redis, or at the disk of var/feast."
            ) from error


def _value(value: Any) -> float | str | None:
    return None if value is None or value != value else value
