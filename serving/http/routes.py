"""The table of all routes; the GET routes: health, readiness, the served release, metrics."""

from functools import cache, partial
from typing import Any

from contract import UseCase
from serving.errors import Refusal
from serving.http import documents, schemas
from serving.http.api import Request, Response, Route
from serving.http.feedback import feedback
from serving.http.predict import RELEASE_FIRST, explain, predict, predict_batch, score
from serving.remedies import describe_error
from serving.wiring import ServiceParts
from settings import LoopError

KIB = 1024


def alive(_parts: ServiceParts, _request: Request) -> dict[str, Any]:
    """GET /livez: 200 while the process answers."""
    return {"alive": True}


def ready(parts: ServiceParts, _request: Request) -> dict[str, Any]:
    """GET /readyz: 200 if a model is loaded and the log works. `problem` as in `release`."""
    models = parts.models
    if parts.log.failure is not None:
        failure = LoopError(parts.log.failure, code="log_not_synced")
        raise Refusal(503, "not ready", describe_error(failure))
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


_post = partial(Route, "POST", limit=64 * KIB, role="predict")
_get = partial(Route, "GET")


@cache
def build_routes(use_case: UseCase) -> dict[str, Route]:
    """Return the routes of a service for this use case, by path."""
    of = schemas.use_case_schemas(use_case)
    routes: dict[str, Route] = {}
    index: dict[str, str] = {}
    routes |= {
        "/predict": _post(
            predict, "One prediction, from the online features", of.response, of.request
        ),
        "/predict_batch": _post(
            predict_batch, "Many predictions: all are answered, or none", of.batch_response,
            of.batch_request, limit=512 * KIB, heavy=True, many_rows=True,
        ),
        "/score": _post(
            score, "One prediction, from features in the request", of.response, of.score_request
        ),
        "/explain": _post(
            explain, "An explanation of one prediction", schemas.ExplainResponse, of.request,
            heavy=True,
        ),
        "/feedback": _post(
            feedback, "The outcome of a predicted case", schemas.FeedbackResponse,
            schemas.FeedbackRequest, role="feedback", limit=4 * KIB, heavy=True,
        ),
        "/": _get(lambda *_: index, "The routes", dict),
        "/livez": _get(alive, "Whether the process answers", dict),
        "/readyz": _get(ready, "Whether it can predict, and why a release is not served", dict),
        "/release": _get(release, "The served release", dict),
        "/metrics": _get(prometheus_metrics, "Metrics for Prometheus"),
        "/docs": _get(documents.page, "A page to try the routes on"),
        **{
            f"/docs/{name}": _get(partial(documents.asset, name), "A file of this page")
            for name in documents.ASSETS
        },
        "/docs.json": _get(lambda *_: openapi(use_case), "The OpenAPI document"),
        "/schema.json": _get(
            lambda *_: documents.client_schema(routes), "The routes for BentoML's client"
        ),
    }  # fmt: skip
    index |= {path: f"{route.method}: {route.summary}" for path, route in routes.items()}
    return routes


@cache
def openapi(use_case: UseCase) -> dict[str, Any]:
    """Return the OpenAPI document."""
    return documents.openapi_document(build_routes(use_case))
