"""The table of all routes, and the routes that describe them."""

from functools import cache, partial
from typing import Any

from serving.http import documents, schemas
from serving.http.api import Route
from serving.http.feedback import feedback
from serving.http.predict import explain, predict, predict_batch, score
from serving.http.status_pages import alive, prometheus_metrics, ready, release
from usecase.request import PredictRequest, PredictResponse

KIB = 1024


@cache
def openapi() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return documents.openapi_document(ROUTES)


def _index(*_: object) -> dict[str, str]:
    return {path: f"{route.method}: {route.summary}" for path, route in ROUTES.items()}


_post = partial(Route, "POST", limit=64 * KIB, role="predict")
_get = partial(Route, "GET")

ROUTES: dict[str, Route] = {
    "/predict": _post(
        predict, "One prediction, from the online features", PredictResponse, PredictRequest
    ),
    "/predict_batch": _post(
        predict_batch, "Many predictions: all are answered, or none", schemas.BatchResponse,
        schemas.BatchRequest, limit=512 * KIB, heavy=True,
    ),
    "/score": _post(
        score, "One prediction, from features in the request", PredictResponse,
        schemas.ScoreRequest,
    ),
    "/explain": _post(
        explain, "An explanation of one prediction", schemas.ExplainResponse, PredictRequest,
        heavy=True,
    ),
    "/feedback": _post(
        feedback, "The outcome of a predicted case", schemas.FeedbackResponse,
        schemas.FeedbackRequest, role="feedback", limit=4 * KIB, heavy=True,
    ),
    "/": _get(_index, "The routes", dict),
    "/livez": _get(alive, "Whether the process answers", dict),
    "/readyz": _get(ready, "Whether it can predict, and why a release is not served", dict),
    "/release": _get(release, "The served release", dict),
    "/metrics": _get(prometheus_metrics, "Metrics for Prometheus"),
    "/docs": _get(documents.page, "A page to try the routes on"),
    **{
        f"/docs/{name}": _get(partial(documents.asset, name), "A file of this page")
        for name in documents.ASSETS
    },
    "/docs.json": _get(lambda *_: openapi(), "The OpenAPI document"),
    "/schema.json": _get(
        lambda *_: documents.client_schema(ROUTES), "The routes for BentoML's client"
    ),
}  # fmt: skip
