"""Probes of the stack's parts: each asks its part for real work, within a time limit.

A probe returns if its part works, and raises otherwise. Its own timeouts are below `BUDGET`, so
the thread of a probe ends even if the part hangs.
"""

from collections.abc import Callable
from functools import partial

import httpx

from features.publication_record import redis_client
from settings import Settings

BUDGET = 2.0  # seconds for each probe; all run at once
TIMEOUT = 1.5  # seconds for a connection or a reply

Probe = Callable[[], object]


def configured_probes(settings: Settings) -> dict[str, Probe]:
    """Return a probe for each server in the settings; a server that we start ourselves has none."""
    registry, mlflow = settings.feast_registry or "", settings.tracking_uri or ""
    redis, evidently = settings.redis or "", settings.evidently_url or ""
    servers = {
        "postgres": (registry.startswith("postgresql"), probe_postgres, registry),
        "redis": (redis, probe_redis, redis),
        "mlflow": (mlflow.startswith("http"), probe_mlflow, mlflow),
        # /ready includes Prefect's database.
        "prefect": (not settings.owns_prefect, probe_http, f"{settings.prefect_url}/ready"),
        "evidently": (evidently, probe_http, f"{evidently}/api/projects"),
        # Through the proxy, as users go; 503 without a model.
        "service": (not settings.owns_service, probe_http, f"{settings.service_url}/readyz"),
    }
    return {part: partial(probe, url) for part, (named, probe, url) in servers.items() if named}


def probe_postgres(url: str) -> None:
    """Run a query; `url` is in SQLAlchemy's format."""
    import psycopg

    dsn = "postgresql://" + url.split("://", 1)[1]
    options = f"-c statement_timeout={int(TIMEOUT * 1000)}"
    with psycopg.connect(dsn, connect_timeout=2, options=options) as connection:
        connection.execute("SELECT 1")


def probe_redis(text: str) -> None:
    """Send PING; `text` is in Feast's format `host:port,password=…`."""
    with redis_client(text, TIMEOUT) as client:
        client.ping()


def probe_mlflow(url: str) -> None:
    """Search experiments, which needs MLflow's database; `/health` answers OK without it."""
    search = f"{url}/api/2.0/mlflow/experiments/search"
    httpx.post(search, json={"max_results": 1}, timeout=TIMEOUT).raise_for_status()


def probe_http(url: str) -> None:
    httpx.get(url, timeout=TIMEOUT).raise_for_status()
