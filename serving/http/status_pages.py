"""The GET routes: health, readiness, the served release, metrics."""

from typing import Any

from serving.errors import Refusal
from serving.http.api import Request, Response
from serving.http.predict import RELEASE_FIRST
from serving.wiring import ServiceParts


def alive(_parts: ServiceParts, _request: Request) -> dict[str, Any]:
    """GET /livez: 200 while the process answers."""
    return {"alive": True}


def ready(parts: ServiceParts, _request: Request) -> dict[str, Any]:
    """GET /readyz: 200 if a model is loaded and the log works. `problem` as in `release`."""
    models = parts.models
    if parts.log.failure is not None:
        raise Refusal(503, "not ready", parts.log.failure)
    if models.current is None:
        raise Refusal(503, "not ready", f"no model yet: {models.problem} {RELEASE_FIRST}")
    release = models.current.release
    return {
        "ready": True, "version": release.champion.version, "generation": release.generation,
        "problem": models.problem,
    }  # fmt: skip


def release(parts: ServiceParts, _request: Request) -> dict[str, Any]:
    """GET /release: the served release. `problem`: why it is not the one in the document."""
    loaded = parts.models.current
    served = loaded and loaded.release
    challenger = served and served.challenger
    return {
        "generation": served and served.generation,
        "version": served and served.champion.version,
        "digest": served and served.champion.digest,
        "threshold": served and served.champion.threshold,
        "changed_at": served and served.changed_at.isoformat(),
        "frozen": served and served.frozen,
        "challenger": challenger and {
            "version": challenger.model.version, "digest": challenger.model.digest,
            "stage": challenger.stage, "percent": challenger.percent, "name": challenger.name,
            "since": challenger.since.isoformat(),
            "loaded": loaded is not None and loaded.challenger is not None,
        },
        "fallback": bool(loaded and loaded.fallback),
        "problem": parts.models.problem,
    }  # fmt: skip


def prometheus_metrics(parts: ServiceParts, _request: Request) -> Response:
    """GET /metrics: of this process, the only one that answers requests."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    parts.metrics.release_problem.set(parts.models.problem is not None)
    parts.metrics.log_lag.set(parts.log.lag())
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)
