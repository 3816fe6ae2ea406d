"""Read features for serving from the online store, each within its time to live."""

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


class IncompleteError(configuration.LoopError):
    """The online store answers but holds no complete publication."""

    code = "features_lost"


@dataclass(frozen=True)
class OnlineRow:
    """The model's columns of one case, and the newest event time among the stored features.

    `published` (UTC): the time up to which the store was published; None without the store.
    """

    values: dict[str, float | str | None]
    as_of: datetime | None
    published: datetime | None = None


class OnlineReader:
    """Looks up the features of cases in Feast's online store.

    Feast does not enforce a view's TTL online: it would serve expired rows, which training never
    sees. So the reader drops stale values first. Then it applies the on-demand view, with the same
    function as training.
    """

    def __init__(self, settings: configuration.Settings) -> None:
        self._settings = settings
        self._features, views = settings.use_case.features, settings.use_case.views()
        # For each view: its time to live in seconds, and its columns.
        self._views = [
            (
                view.ttl.total_seconds() if view.ttl else float("inf"),
                [field.name for field in view.features],
            )
            for view in views.views
        ]
        self._on_demand = views.on_demand
        with suppress(sqlite3.Error, OSError):  # the store may be unavailable for now
            _ = self._read  # import its libraries now, so that no request waits for them

    @cached_property
    def _read(self) -> ReadOnline:
        return open_online_values(self._settings)

    def read(
        self, entity_rows: Sequence[Mapping[str, Any]], decision_times: Sequence[datetime]
    ) -> list[OnlineRow]:
        """Return one row per case, in order; a missing or stale value is None.

        Raise `UnreachableError` if the online store does not answer, `IncompleteError` if it
        holds no complete publication.
        """
        from redis.exceptions import RedisError

        try:
            stored = self._read(entity_rows)
        except (RedisError, sqlite3.Error, OSError) as error:
            raise configuration.UnreachableError(
                f"The online store does not answer ({type(error).__name__}: {error}). There are no "
                "features to predict from. Check Redis, or the disk of "
                f"{self._settings.online_file.parent}."
            ) from error
        if stored is None:
            raise IncompleteError(
                "The online store holds no complete publication: it is new, was lost, or is being "
                "rebuilt. There are no features to predict from. Run `mlops features`."
            )
        published, views = stored
        times = [moment.timestamp() for moment in decision_times]
        return self._assemble(entity_rows, times, views, datetime.fromisoformat(published))

    def read_without_store(self, entity_rows: Sequence[Mapping[str, Any]]) -> list[OnlineRow]:
        """Return the same rows for an empty store: only the features of the request itself."""
        empty = [[NO_VALUES] * len(entity_rows)] * len(self._views)
        return self._assemble(entity_rows, [0.0] * len(entity_rows), empty)

    def _assemble(
        self, entity_rows: Sequence[Mapping[str, Any]], times: Sequence[float],
        stored: Sequence[Sequence[StoredValues]], published: datetime | None = None,
    ) -> list[OnlineRow]:  # fmt: skip
        # What the request states: categories, and what features on demand are computed from.
        columns: dict[str, list[Any]] = {
            name: [row[name] for row in entity_rows] for name in (entity_rows or [{}])[0]
        }
        for (ttl, names), of_view in zip(self._views, stored, strict=True):
            fresh = [
                row.values if time - ttl <= row.event_time else {}
                for row, time in zip(of_view, times, strict=True)
            ]
            for name in names:
                columns[name] = [values.get(name) for values in fresh]
        if self._on_demand is not None:
            columns |= self._on_demand.feature_transformation.udf(columns)
        newest = [max(row.event_time for row in of_case) for of_case in zip(*stored, strict=True)]
        # NaN is the only value that differs from itself.
        clean = [
            [None if value != value else value for value in columns[name]]
            for name in self._features
        ]
        return [
            OnlineRow(
                dict(zip(self._features, values, strict=True)),
                datetime.fromtimestamp(time, UTC) if time else None,
                published,
            )
            for values, time in zip(zip(*clean, strict=True), newest, strict=True)
        ]
