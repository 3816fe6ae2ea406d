"""What serving sees: the features in the online store, each within its time to live."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import settings as configuration
from features.feast_store import open_online_values
from features.online_values import NO_VALUES, ReadOnline, StoredValues
from usecase.columns import CATEGORIES, FEATURES
from usecase.feature_views import VIEWS, on_demand

# Of each view: its time to live in seconds, and its columns.
VIEW_COLUMNS = [
    (view.ttl.total_seconds() if view.ttl else float("inf"), [one.name for one in view.features])
    for view in VIEWS
]


class IncompleteError(configuration.LoopError):
    """The online store answers, and holds no complete publication."""


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
        self._settings = settings
        self._transform = on_demand.feature_transformation.udf
        with suppress(sqlite3.Error, OSError):  # it may be away for now
            _ = self._read  # imports what it needs, which no request is to wait for

    @cached_property
    def _read(self) -> ReadOnline:
        return open_online_values(self._settings)

    def read(
        self, entity_rows: Sequence[Mapping[str, Any]], decision_times: Sequence[datetime]
    ) -> list[OnlineRow]:
        """One row per case, in order; a value that is absent or stale at its time is None.

        Raises `UnreachableError` if the online store does not answer, `IncompleteError` if it
        holds no complete publication.
        """
        moments = [at.timestamp() for at in decision_times]
        return self._assembled(entity_rows, moments, self._found(entity_rows))

    def read_without_store(self, entity_rows: Sequence[Mapping[str, Any]]) -> list[OnlineRow]:
        """The same, as if the store held nothing: what the request brings is all there is."""
        moments = [0.0] * len(entity_rows)
        return self._assembled(entity_rows, moments, self.nothing(entity_rows))

    @staticmethod
    def nothing(entity_rows: Sequence[Mapping[str, Any]]) -> list[list[StoredValues]]:
        """What an empty store holds of so many cases."""
        return [[NO_VALUES] * len(entity_rows)] * len(VIEW_COLUMNS)

    def _assembled(
        self, entity_rows: Sequence[Mapping[str, Any]], moments: Sequence[float],
        found: Sequence[Sequence[StoredValues]],
    ) -> list[OnlineRow]:  # fmt: skip
        columns: dict[str, list[Any]] = {}
        newest = [0.0] * len(entity_rows)
        for (ttl, names), of_rows in zip(VIEW_COLUMNS, found, strict=True):
            fresh = [
                one.values if now - ttl <= one.at else {}
                for one, now in zip(of_rows, moments, strict=True)
            ]
            for name in names:
                columns[name] = [values.get(name) for values in fresh]
            newest = [max(at, one.at) for at, one in zip(newest, of_rows, strict=True)]
        columns["sched_dep_epoch"] = [row["sched_dep_epoch"] for row in entity_rows]
        columns |= self._transform(columns)
        for name in CATEGORIES:
            columns[name] = [row[name] for row in entity_rows]
        # NaN is the only value that differs from itself.
        clean = [[None if one != one else one for one in columns[name]] for name in FEATURES]
        return [
            OnlineRow(
                dict(zip(FEATURES, values, strict=True)),
                datetime.fromtimestamp(at, UTC) if at else None,
            )
            for values, at in zip(zip(*clean, strict=True), newest, strict=True)
        ]

    def _found(self, entity_rows: Sequence[Mapping[str, Any]]) -> list[list[StoredValues]]:
        from redis.exceptions import RedisError

        try:
            found = self._read(entity_rows)
        except (RedisError, sqlite3.Error, OSError) as error:
            raise configuration.UnreachableError(
                f"The online store does not answer ({type(error).__name__}: {error}), so there are "
                "no features to predict from. Look at Redis, or at the disk of var/feast."
            ) from error
        if found is None:
            raise IncompleteError(
                "The online store holds no complete publication: it is new, was lost, or is being "
                "rebuilt. So there are no features to predict from. Run `mlops features`."
            )
        return found
