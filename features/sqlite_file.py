"""Connections to a SQLite file that may be removed and recreated while others have it open."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any


def remove_leftovers(path: Path) -> None:
    """Remove the side files of a missing or empty database.

    SQLite would treat them as parts of the new file.
    """
    if not path.exists() or not path.stat().st_size:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def connect_read_only(path: Path, seconds: float) -> sqlite3.Connection:
    """Return a connection that creates no file and waits `seconds` for a lock."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=seconds, check_same_thread=False
    )
    connection.execute("PRAGMA query_only=1")
    return connection


def file_id(path: Path) -> tuple[int, int] | None:
    """Return the file's device and inode, which change when it is recreated; None if missing."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def is_missing_table(error: sqlite3.OperationalError) -> bool:
    """Return whether a table is missing; SQLite has no error code for this."""
    return str(error).startswith("no such table")


def connection_to_current_file(
    path: Path, seconds: float
) -> Callable[[], sqlite3.Connection | None]:
    """Return a function that gives a connection to the current file, or None while it is missing.

    An older connection would keep reading a removed file.
    """
    opened: tuple[int, int] | None = None
    connection: sqlite3.Connection | None = None

    def current() -> sqlite3.Connection | None:
        nonlocal opened, connection
        existing = file_id(path)
        if existing != opened:
            if connection is not None:
                connection.close()
            connection = connect_read_only(path, seconds) if existing else None
            opened = existing
        return connection

    return current


def select_rows(
    connection: sqlite3.Connection | None, statement: str, keys: Sequence[bytes]
) -> Iterable[tuple[Any, ...]]:
    """Return the rows; none if the file is missing or has no tables yet."""
    if connection is None:
        return ()
    try:
        return connection.execute(statement, keys)
    except sqlite3.OperationalError as error:
        if is_missing_table(error):
            return ()
        raise
