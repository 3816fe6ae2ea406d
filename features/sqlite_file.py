"""Connections to a SQLite file that may be lost and made anew while others have it open."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any


def remove_leftovers(path: Path) -> None:
    """Remove what belongs to a file that is missing or empty.

    SQLite would take it for parts of the new file.
    """
    if not path.exists() or not path.stat().st_size:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def connect_read_only(path: Path, seconds: float) -> sqlite3.Connection:
    """A connection that only reads, and makes no file; it waits `seconds` for a lock."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=seconds, check_same_thread=False
    )
    connection.execute("PRAGMA query_only=1")
    return connection


def file_id(path: Path) -> tuple[int, int] | None:
    """Which file has this name; None if there is none. A connection stays with its file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def is_missing_table(error: sqlite3.OperationalError) -> bool:
    """Whether a table is missing: SQLite has no code of its own for it."""
    return str(error).startswith("no such table")


def connection_to_current_file(
    path: Path, seconds: float
) -> Callable[[], sqlite3.Connection | None]:
    """Gives the connection to the file that has this name now; None while there is none.

    One that was opened before the file was lost would read the lost one for ever.
    """
    known: tuple[int, int] | None = None
    connection: sqlite3.Connection | None = None

    def current() -> sqlite3.Connection | None:
        nonlocal known, connection
        found = file_id(path)
        if found != known:
            if connection is not None:
                connection.close()
            connection = connect_read_only(path, seconds) if found else None
            known = found
        return connection

    return current


def select_rows(
    connection: sqlite3.Connection | None, statement: str, keys: Sequence[bytes]
) -> Iterable[tuple[Any, ...]]:
    """The rows; none if there is no file, or it has no tables yet."""
    if connection is None:
        return ()
    try:
        return connection.execute(statement, keys)
    except sqlite3.OperationalError as error:
        if is_missing_table(error):
            return ()
        raise
