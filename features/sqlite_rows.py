"""Rows in the tables of Feast's SQLite store: one per value, as Feast writes them."""

import sqlite3
from datetime import UTC, datetime

from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores import sqlite
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.utils import to_naive_utc

from features.online_values import RowsToWrite

# Unlike REPLACE, an update leaves the entries of known values in both indexes as they are.
UPSERT = """
    INSERT INTO {table} (entity_key, feature_name, value, value_text, event_ts, created_ts)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (entity_key, feature_name) DO UPDATE SET
        value = excluded.value, value_text = excluded.value_text,
        event_ts = excluded.event_ts, created_ts = excluded.created_ts
"""


def table_name(config: RepoConfig, view: FeatureView) -> str:
    """Return the quoted name of the view's table."""
    versioned = config.registry.enable_online_feature_view_versioning
    return str(sqlite._quote_id(sqlite._table_id(config.project, view, versioned)))


def write_rows(
    connection: sqlite3.Connection, config: RepoConfig, view: FeatureView, rows: RowsToWrite
) -> None:
    """Write the rows, which replace those of the same key and feature."""
    upsert = UPSERT.format(table=table_name(config, view))
    version = config.entity_key_serialization_version
    for key, values, at, created in rows:
        stored_key = serialize_entity_key(key, entity_key_serialization_version=version)
        times = _epoch(at), None if created is None else _epoch(created)
        connection.executemany(upsert, [
            (stored_key, name, value.SerializeToString(),
             extract_text_and_num(value, False)[0], *times)
            for name, value in values.items()
        ])  # fmt: skip


def _epoch(moment: datetime) -> int:
    """Return seconds since 1970; Feast treats naive times as UTC."""
    return int(to_naive_utc(moment).replace(tzinfo=UTC).timestamp())
