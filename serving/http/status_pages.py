"""The GET routes: health, readiness, the served release, metrics."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from serving.errors import Refusal
from serving.http.asgi import Request, Response
from serving.http.predict import RELEASE_FIRST
from serving.metrics import Metrics
from serving.models.holder import LoadedRelease, ModelHolder
from serving.prediction_log.writer import PredictionLog


class StatusPages:
    """Handlers of the GET routes."""

    def __init__(self, models: ModelHolder, log: PredictionLog, metrics: Metrics) -> None:
        self._models, self._log, self._metrics = models, log, metrics

    def index(self, _: Request) -> Response:
        """GET /: the routes. Replaces BentoML's page, which loads Google's tag manager."""
        return _json(
            {
                "predict": "POST /predict",
                "predict_batch": "POST /predict_batch",
                "score": "POST /score",
                "explain": "POST /explain",
                "feedback": "POST /feedback",
                "release": "/release",
                "schema": "/docs.json",
            }
        )

    def alive(self, _: Request) -> Response:
        """GET /livez: 200 while the process answers."""
        return _json({"alive": True})

    def ready(self, _: Request) -> Response:
        """GET /readyz: 200 if a model is loaded and the log works. `problem` as in `release`."""
        if self._log.failure is not None:
            raise Refusal(503, "not ready", self._log.failure)
        if self._models.current is None:
            raise Refusal(503, "not ready", f"no model yet: {self._models.problem} {RELEASE_FIRST}")
        release = self._models.current.release
        return _json(
            {
                "ready": True, "version": release.champion.version,
                "generation": release.generation, "problem": self._models.problem,
            }
        )  # fmt: skip

    def release(self, _: Request) -> Response:
        """GET /release: the served release. `problem`: why it is not the one in the document."""
        models = self._models
        release = models.current.release if models.current else None
        return _json(
            {
                "generation": release and release.generation,
                "version": release and release.champion.version,
                "digest": release and release.champion.digest,
                "threshold": release and release.champion.threshold,
                "changed_at": release and release.changed_at.isoformat(),
                "frozen": release and release.frozen,
                "challenger": _challenger(models.current),
                "fallback": bool(models.current and models.current.fallback),
                "problem": models.problem,
            }
        )

    def metrics(self, _: Request) -> Response:
        """GET /metrics: of this process, the only one that answers requests."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        self._metrics.release_problem.set(self._models.problem is not None)
        self._metrics.log_lag.set(self._log.lag())
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST.encode())


def _json(value: Any) -> Response:
    return Response(to_json(value))


def _challenger(loaded: LoadedRelease | None) -> dict[str, Any] | None:
    challenger = loaded and loaded.release.challenger
    if not loaded or not challenger:
        return None
    return {
        "version": challenger.model.version, "digest": challenger.model.digest,
        "stage": challenger.stage, "percent": challenger.percent, "name": challenger.name,
        "since": challenger.since.isoformat(), "loaded": loaded.challenger is not None,
    }  # fmt: skip
