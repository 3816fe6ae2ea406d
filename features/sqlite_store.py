"""Feast's online store in SQLite, read by one statement and written by one transaction."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.online_stores import sqlite

from features.online_values import (
    NO_VALUES,
    ReadOnline,
    RowsToWrite,
    StoredValues,
    decode_value,
    key_serializer,
)
from features.publication_record import FIELD, RECORD, connect_read_only, select_rows
from features.sqlite_rows import table_name, write_rows


class LeanSqliteOnlineStoreConfig(sqlite.SqliteOnlineStoreConfig):
    type: Literal["features.sqlite_store.LeanSqliteOnlineStore"] = (
        "features.sqlite_store.LeanSqliteOnlineStore"
    )
    seconds: float = 1.0  # a reader waits this long for a lock


class LeanSqliteOnlineStore(sqlite.SqliteOnlineStore):
    """Feast's SQLite store, reading all views of all cases in one statement.

    It stores times as epoch seconds, independent of the machine's time zone.
    """

    _file: tuple[int, int] | None = None  # identity of the file that `_conn` has open

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        if not self._conn:
            path = Path(self._get_db_path(config))
            if not path.exists() or not path.stat().st_size:
                # SQLite would treat the side files of a removed database as parts of the new one.
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{path}{suffix}").unlink(missing_ok=True)
            connection = super()._get_conn(config)
            # Readers do not wait for writers. A commit waits for no disk: after a power failure the
            # store is whole, at an earlier publication, and the next one continues from there.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"CREATE TABLE IF NOT EXISTS {RECORD} ({FIELD} TEXT)")
            self._file = _file_id(path)
        return self._conn

    def write_views(
        self, config: RepoConfig, batches: Sequence[tuple[FeatureView, RowsToWrite]],
        expected: str, until: str,
    ) -> bool:  # fmt: skip
        """Write the rows of each view and move the record to `until`, in one transaction.

        Return False and write nothing if the record is not `expected`, or if the file was replaced
        since it was opened.
        """
        connection = self._get_conn(config)
        if _file_id(Path(self._get_db_path(config))) != self._file:
            return False
        with connection:
            moved = connection.execute(
                f"UPDATE {RECORD} SET {FIELD} = ? WHERE {FIELD} = ?",  # noqa: S608
                (until, expected),
            )
            for view, rows in batches if moved.rowcount else ():
                write_rows(connection, config, view, rows)
        return bool(moved.rowcount)

    def withdraw(self, config: RepoConfig) -> None:
        """Empty the record: from now on the store holds no complete publication."""
        with self._get_conn(config) as connection:
            connection.execute(f"DELETE FROM {RECORD}")  # noqa: S608
            connection.execute(f"INSERT INTO {RECORD} VALUES ('')")  # noqa: S608

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: RowsToWrite,
        progress: Callable[[int], Any] | None,
    ) -> None:  # fmt: skip
        """Write as Feast does, except that Feast treats naive UTC times as local time."""
        with self._get_conn(config) as connection:
            write_rows(connection, config, table, data)
        if progress:
            progress(len(data))

    def online_read(self, *args: Any, **options: Any) -> list[tuple[datetime | None, Any]]:
        """Read as Feast does, except that Feast treats the machine's local time as UTC."""
        rows = super().online_read(*args, **options)
        return [(at and at.replace(tzinfo=None).astimezone(UTC), values) for at, values in rows]

    def reader(self, config: RepoConfig, views: Sequence[FeatureView]) -> ReadOnline:
        """Return a function that reads all views of each row's entity, raising `sqlite3.Error`."""
        path, seconds = Path(self._get_db_path(config)), config.online_store.seconds
        # Not Feast's own connection, which would convert each value's time to a datetime.
        connection: sqlite3.Connection | None = None
        opened: tuple[int, int] | None = None
        serializers = [key_serializer(config, view) for view in views]
        record = f"SELECT -1, NULL, NULL, {FIELD}, NULL FROM {RECORD}"  # noqa: S608
        selects = [
            f"SELECT {number}, entity_key, feature_name, value, event_ts "  # noqa: S608
            f"FROM {table_name(config, view)} WHERE entity_key IN "
            for number, view in enumerate(views)
        ]

        def read(
            rows: Sequence[Mapping[str, Any]],
        ) -> tuple[str, list[list[StoredValues]]] | None:
            nonlocal connection, opened
            # A connection would keep reading a file that was removed or replaced.
            if (existing := _file_id(path)) != opened:
                if connection is not None:
                    connection.close()
                connection = connect_read_only(path, seconds) if existing else None
                opened = existing
            if connection is None:
                return None
            keys_by_view = [serialize(rows) for serialize in serializers]
            distinct = [list(dict.fromkeys(keys)) for keys in keys_by_view]
            # Some builds of SQLite take 999 variables in a statement, others 250,000.
            most = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
            if len(rows) > 1 and sum(map(len, distinct)) > most:
                middle = len(rows) // 2
                first, second = read(rows[:middle]), read(rows[middle:])
                if first is None or second is None:
                    return None
                pairs = zip(first[1], second[1], strict=True)
                return min(first[0], second[0]), [one + other for one, other in pairs]
            parts = [
                f"{select}({','.join('?' * len(keys))})"
                for select, keys in zip(selects, distinct, strict=True)
            ]
            statement = " UNION ALL ".join([record, *parts])
            found = select_rows(connection, statement, [key for keys in distinct for key in keys])
            until, stored = _collect(found)
            if not until:
                return None
            values = [
                [stored.get((number, key), NO_VALUES) for key in keys]
                for number, keys in enumerate(keys_by_view)
            ]
            return until, values

        return read


def _collect(
    found: Iterable[tuple[Any, ...]],
) -> tuple[str | None, dict[tuple[int, bytes], StoredValues]]:
    """Return the record, and the values by number of the view and key of the entity."""
    until: str | None = None
    stored: dict[tuple[int, bytes], StoredValues] = {}
    for number, key, column, value, at in found:
        if number < 0:
            until = value
            continue
        entry = stored.get((number, key))
        if entry is None:
            entry = stored[number, key] = StoredValues({}, at)
        entry.values[column] = decode_value(value)
    return until, stored


def _file_id(path: Path) -> tuple[int, int] | None:
    """Return the file's device and inode, which change when it is recreated; None if missing."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino
