"""The table of all routes, and their OpenAPI document."""

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
    "/predict_batch": (BatchRequest, BatchResponse, "Many predictions: all are answered, or none"),
    "/score": (ScoreRequest, PredictResponse, "One prediction, from features in the request"),
    "/explain": (PredictRequest, ExplainResponse, "An explanation of one prediction"),
    "/feedback": (FeedbackRequest, FeedbackResponse, "The outcome of a predicted case"),
}
GET_ROUTES = {
    "/": "The routes",
    "/livez": "Whether the process answers",
    "/readyz": "Whether it can predict, and why a release is not served",
    "/release": "The served release",
}


def route_table(
    predictions: PredictionHandlers,
    explanations: ExplanationHandler,
    feedback: FeedbackHandler,
    pages: StatusPages,
) -> dict[str, Route]:
    """Return the route of each path."""
    return {
        "/predict": Route("POST", predictions.predict, "predict", 64 * KIB),
        "/predict_batch": Route(
            "POST", predictions.predict_batch, "predict", 512 * KIB, heavy=True
        ),
        "/score": Route("POST", predictions.score, "predict", 64 * KIB),
        "/explain": Route("POST", explanations.explain, "predict", 64 * KIB, heavy=True),
        "/feedback": Route("POST", feedback.record, "feedback", 4 * KIB, heavy=True),
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
    """Return the OpenAPI document."""
    return to_json(openapi_document(POST_ROUTES, GET_ROUTES, Error))
