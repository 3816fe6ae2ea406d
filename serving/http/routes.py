"""Which paths are there? The table of all routes, and what OpenAPI says of them."""

from __future__ import annotations

from functools import cache

from pydantic_core import to_json

from serving.http.api import Route
from serving.http.asgi import Request, Response
from serving.http.explain import ExplanationHandler
from serving.http.feedback import FeedbackHandler
from serving.http.openapi import PostRoutes, openapi_document
from serving.http.predict import PredictionHandlers
from serving.http.schemas import (
    BatchRequest,
    BatchResponse,
    Error,
    ExplainResponse,
    FeedbackRequest,
    FeedbackResponse,
    ScoreRequest,
)
from serving.http.status_pages import StatusPages
from usecase.request import PredictRequest, PredictResponse

KIB = 1024
POST_ROUTES: PostRoutes = {
    "/predict": (PredictRequest, PredictResponse, "One prediction, from the online features"),
    "/predict_batch": (BatchRequest, BatchResponse, "Many at once; all are answered, or none"),
    "/score": (ScoreRequest, PredictResponse, "One prediction, from features in the request"),
    "/explain": (PredictRequest, ExplainResponse, "Why a case is answered as it is"),
    "/feedback": (FeedbackRequest, FeedbackResponse, "How a predicted case turned out"),
}
GET_ROUTES = {
    "/": "Where to begin",
    "/livez": "Whether the process answers",
    "/readyz": "Whether it can predict, and what is not as released",
    "/release": "What is served",
}


def route_table(
    predicting: PredictionHandlers,
    explaining: ExplanationHandler,
    feedback: FeedbackHandler,
    pages: StatusPages,
) -> dict[str, Route]:
    return {
        "/predict": Route("POST", predicting.one, "predict", 64 * KIB),
        "/predict_batch": Route("POST", predicting.many, "predict", 512 * KIB, heavy=True),
        "/score": Route("POST", predicting.given, "predict", 64 * KIB),
        "/explain": Route("POST", explaining.one, "predict", 64 * KIB, heavy=True),
        "/feedback": Route("POST", feedback.one, "feedback", 4 * KIB, heavy=True),
        "/": Route("GET", pages.index, None),
        "/livez": Route("GET", pages.alive, None),
        "/readyz": Route("GET", pages.ready, None),
        "/release": Route("GET", pages.release, None),
        "/metrics": Route("GET", pages.metrics, None),
        "/docs.json": Route("GET", _docs, None),
    }


def _docs(_: Request) -> Response:
    return Response(openapi_json())


@cache
def openapi_json() -> bytes:
    return to_json(openapi_document(POST_ROUTES, GET_ROUTES, Error))
