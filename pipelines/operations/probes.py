"""Does each part of the stack do its work? Asked by real work, and only of the parts we name.

A probe returns when its part has answered well, and raises otherwise. Its own timeouts are below
`BUDGET`, so that a thread that asks a part that hangs ends, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import httpx

from features.publication_record import redis_client
from settings import Settings

BUDGET = 2.0  # seconds for each, all at once
TIMEOUT = 1.5  # of a connection or a reply

Probe = Callable[[], object]


def configured_probes(settings: Settings) -> dict[str, Probe]:
    """A probe for every server that the settings name; what we would start ourselves has none."""
    found: dict[str, Probe] = {}
    if settings.feast_registry and settings.feast_registry.startswith("postgresql"):
        found["postgres"] = partial(probe_postgres, settings.feast_registry)
    if settings.redis:
        found["redis"] = partial(probe_redis, settings.redis)
    if settings.tracking_uri and settings.tracking_uri.startswith("http"):
        found["mlflow"] = partial(probe_mlflow, settings.tracking_uri)
    if not settings.owns_prefect:
        found["prefect"] = partial(probe_http, f"{settings.prefect_url}/ready")  # with its database
    if settings.evidently_url:
        found["evidently"] = partial(probe_http, f"{settings.evidently_url}/api/projects")
    if not settings.owns_service:  # by the way that its users go; 503 while it has no model
        found["service"] = partial(probe_http, f"{settings.service_url}/readyz")
    return found


def probe_postgres(url: str) -> None:
    """A query; `url` is SQLAlchemy's."""
    import psycopg

    dsn = "postgresql://" + url.split("://", 1)[1]
    options = f"-c statement_timeout={int(TIMEOUT * 1000)}"
    with psycopg.connect(dsn, connect_timeout=2, options=options) as connection:
        connection.execute("SELECT 1")


def probe_redis(text: str) -> None:
    """PING; `text` is Feast's `host:port,password=…`."""
    with redis_client(text, TIMEOUT) as client:
        client.ping()


def probe_mlflow(url: str) -> None:
    """A search, which MLflow's database answers; `/health` would say OK without it."""
    searched = httpx.post(
        f"{url}/api/2.0/mlflow/experiments/search", json={"max_results": 1},
        timeout=TIMEOUT,
    )  # fmt: skip
    searched.raise_for_status()


def probe_http(url: str) -> None:
    httpx.get(url, timeout=TIMEOUT).raise_for_status()
