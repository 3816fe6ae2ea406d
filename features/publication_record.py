"""The online store's own record of its newest complete publication.

The record is stored beside the rows, so it is lost with them. Readers fetch it together with the
features; `published_until` fetches it alone and does not import Feast. Version 0.1 kept it in a
file: a store of that version counts as not published, and the next publication rebuilds it.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from settings import Settings, UnreachableError, UserError

RECORD = "published"  # a table of one row in SQLite; in Redis a hash, followed by the project
FIELD = "until"  # an ISO time; empty while the store is being rebuilt
TIMEOUT = 1.5  # seconds


def published_until(settings: Settings) -> datetime | None:
    """Return the time (UTC) up to which the online store holds all published rows.

    Return None if it holds no complete publication: it is new, lost, or being rebuilt. Raise
    `UnreachableError` if it does not answer.
    """
    try:
        record = (
            _in_redis(settings.redis, settings.usecase)
            if settings.redis
            else _in_file(settings.online_file)
        )
    except (sqlite3.Error, OSError) as error:
        raise UnreachableError(
            f"The online store cannot be read ({type(error).__name__}: {error}). It is "
            f"{store_place(settings)}. "
            "Start it, or remove a damaged file; then run `mlops features`.",
            code="store_unreachable" if settings.redis else "store_damaged",
        ) from error
    return datetime.fromisoformat(record) if record else None


def store_place(settings: Settings) -> str:
    """Return where the online store is, for messages: without the password."""
    if settings.redis:
        return f"Redis at {settings.redis.split(',')[0]}"
    return str(settings.online_file)


def record_text(moment: datetime) -> str:
    """Return the moment in the format of the record."""
    return moment.astimezone(UTC).isoformat()


def _in_redis(address: str, project: str) -> str | None:
    from redis.exceptions import RedisError

    try:
        with redis_client(address, TIMEOUT) as client:
            stored = client.hget(f"{RECORD} {project}", FIELD)
    except RedisError as error:
        raise ConnectionError(str(error)) from error
    return stored.decode() if stored else None


def _in_file(path: Path) -> str | None:
    if not path.exists():
        return None
    with closing(connect_read_only(path, TIMEOUT)) as connection:
        rows = list(select_rows(connection, f"SELECT {FIELD} FROM {RECORD}"))  # noqa: S608
    return rows[0][0] if rows else None


def redis_client(address: str, seconds: float) -> Any:
    """Return a client with this timeout and no retry; `address` is Feast's `host:port,key=…`."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    node, *rest = address.split(",")
    host, _, port = node.rpartition(":")
    options: dict[str, Any] = dict(part.split("=", 1) for part in rest)
    for name, value in options.items():
        with suppress(ValueError):  # as Feast parses them: `true` is a boolean, `1` a number
            options[name] = json.loads(value)
    limits = {
        "socket_timeout": seconds, "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
    }  # fmt: skip
    try:
        return Redis(host=host, port=int(port), **{**options, **limits})
    except TypeError as error:
        raise UserError(f"MLOPS_REDIS has an option that Redis' client lacks: {error}.") from error


def connect_read_only(path: Path, seconds: float) -> sqlite3.Connection:
    """Return a connection that creates no file and waits `seconds` for a lock."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=seconds, check_same_thread=False
    )
    connection.execute("PRAGMA query_only=1")
    return connection


def select_rows(
    connection: sqlite3.Connection, statement: str, values: Sequence[Any] = ()
) -> Iterable[tuple[Any, ...]]:
    """Return the rows; none if the file has no such table yet."""
    try:
        return connection.execute(statement, values)
    except sqlite3.OperationalError as error:
        if str(error).startswith("no such table"):  # SQLite has no error code for this
            return ()
        raise
