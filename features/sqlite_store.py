"""Feast's online store in SQLite, read by one statement and written by one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores import sqlite
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.utils import to_naive_utc

from features.lookup import NOTHING, Found, Keys, Read, Rows, decoded


class LeanSqliteOnlineStoreConfig(sqlite.SqliteOnlineStoreConfig):
    type: Literal["features.sqlite_store.LeanSqliteOnlineStore"] = (
        "features.sqlite_store.LeanSqliteOnlineStore"
    )
    seconds: float = 1.0  # that a reader waits for a lock


class LeanSqliteOnlineStore(sqlite.SqliteOnlineStore):
    """Feast's store in SQLite, which reads all views of all cases in one statement."""

    @staticmethod
    def _get_db_path(config: RepoConfig) -> str:
        return str(config.online_store.path)  # absolute: the settings give it

    def write_views(self, config: RepoConfig, batches: Sequence[tuple[FeatureView, Rows]]) -> None:
        """Like `online_write_batch` for each view, in one transaction: whole or not."""
        connection = self._get_conn(config)
        with connection:
            for view, rows in batches:
                connection.executemany(self._upsert(config, view), _lines(config, rows))

    def _upsert(self, config: RepoConfig, view: FeatureView) -> str:
        return (
            f"INSERT OR REPLACE INTO {sqlite._quote_id(self._table(config, view))} "  # noqa: S608
            "(entity_key, feature_name, value, value_text, event_ts, created_ts) "
            "VALUES (?, ?, ?, ?, ?, ?)"
        )

    @staticmethod
    def _table(config: RepoConfig, view: FeatureView) -> str:
        versioned = config.registry.enable_online_feature_view_versioning
        return str(sqlite._table_id(config.project, view, versioned))

    def reader(self, config: RepoConfig, views: Sequence[FeatureView]) -> Read:
        """Reads what each view holds of each row's entity. Raises sqlite3.Error."""
        # Beside Feast's own connection, which would make a datetime of each value's time.
        connection = sqlite3.connect(
            self._get_db_path(config), timeout=config.online_store.seconds, check_same_thread=False
        )
        connection.execute("PRAGMA query_only=1")
        keys_of = [Keys(config, view) for view in views]
        tables = [self._table(config, view) for view in views]
        selects = [
            f"SELECT {number}, entity_key, feature_name, value, event_ts "  # noqa: S608
            f"FROM {sqlite._quote_id(table)} WHERE entity_key IN "
            for number, table in enumerate(tables)
        ]

        def read(rows: Sequence[Mapping[str, Any]]) -> list[list[Found]]:
            asked = [keys.of(rows) for keys in keys_of]
            distinct = [list(dict.fromkeys(keys)) for keys in asked]
            statement = " UNION ALL ".join(
                f"{select}({','.join('?' * len(keys))})"
                for select, keys in zip(selects, distinct, strict=True)
            )
            found: dict[tuple[int, bytes], Found] = {}
            for number, key, column, value, at in connection.execute(
                statement, [key for keys in distinct for key in keys]
            ):
                entry = found.get((number, key))
                if entry is None:
                    entry = found[number, key] = Found({}, at)
                entry.values[column] = decoded(value)
            return [
                [found.get((number, key), NOTHING) for key in keys]
                for number, keys in enumerate(asked)
            ]

        return read


def _lines(config: RepoConfig, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """As the tables of Feast's store have them: a line a value."""
    for key, values, at, created in rows:
        stored_key = serialize_entity_key(
            key, entity_key_serialization_version=config.entity_key_serialization_version
        )
        times = to_naive_utc(at), None if created is None else to_naive_utc(created)
        for name, value in values.items():
            text = extract_text_and_num(value, False)[0]
            yield stored_key, name, value.SerializeToString(), text, *times
