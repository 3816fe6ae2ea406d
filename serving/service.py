"""What does the service answer, and what does it record on the way? The BentoML service."""

from __future__ import annotations

import gc
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import bentoml
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

import settings as configuration
from serving.body_limit import BodyLimit
from serving.metrics import Metrics
from serving.models import ModelHolder, Serving
from serving.pages import PAGES
from serving.prediction_log import PredictionLog
from serving.scoring import score
from settings import LoopError
from usecase.request import (
    PredictRequest,
    PredictResponse,
    decision_time,
    entity_row,
    key,
    response,
)

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
RELEASE_FIRST = "Release a model; the service takes it up within a second, with no restart."


@bentoml.asgi_app(PAGES)
@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},  # the prediction log says more
    tracing={"excluded_urls": [".*"]},  # by a middleware that nobody reads here
)
class Predictor:
    """One prediction per request, from the online features and the released model."""

    def __init__(self) -> None:
        # Not at the top: the supervising process imports this module too, and needs none of it.
        from prometheus_client import Gauge

        from features.online import OnlineReader
        from usecase.columns import FEATURES

        settings = configuration.load()
        self.features = OnlineReader(settings)
        self.log = PredictionLog(settings.predictions)
        self.metrics = Metrics()
        generation = Gauge(
            "release_generation", "Of the release that is served; 0 if there is none",
            multiprocess_mode="mostrecent",
        )  # fmt: skip
        generation.set(0)
        self.models = ModelHolder(
            settings.followed_file, features=FEATURES,
            on_change=lambda release: generation.set(release.generation),
        )  # fmt: skip
        self.models.start()
        gc.collect()
        gc.freeze()  # what is loaded stays: walking it again and again holds requests up

    def __is_ready__(self) -> bool:
        if self.log.failure is not None:
            raise HTTPException(503, f"{self.log.failure}\n")
        if self.models.current is None:
            raise HTTPException(503, f"no model yet: {self.models.problem} {RELEASE_FIRST}\n")
        if self.models.problem is not None:  # ready, and the body says what is not as released
            raise HTTPException(200, f"{self.models.problem}\n")
        return True

    @bentoml.api
    async def predict(self, request: PredictRequest, /, ctx: bentoml.Context) -> PredictResponse:
        """The prediction for one case. The fields of the request stand at the top of the body."""
        # A coroutine, though it awaits nothing: to hand so little computing to BentoML's thread and
        # back costs throughput and gains nothing.
        serving = self.models.current
        if serving is None:
            return _unavailable(ctx, "no model yet", f"{self.models.problem} {RELEASE_FIRST}")
        given = ctx.request.headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        ctx.response.headers["X-Request-Id"] = request_id
        try:
            return self._answer(request_id, request, serving)
        except Exception as error:
            self.metrics.failed(serving.release.champion.version)
            if isinstance(error, LoopError):  # a part that it needs is away; another replica may do
                return _unavailable(ctx, "unavailable", str(error))
            if isinstance(error, ValidationError):  # ours, but BentoML would blame the client
                raise RuntimeError("The prediction does not fit its own schema") from error
            raise

    def _answer(
        self, request_id: str, request: PredictRequest, serving: Serving
    ) -> PredictResponse:
        decided_at = decision_time(request)
        [row] = self.features.read([entity_row(request)], [decided_at])
        scored = score(serving, key(request), row.values)
        self.metrics.challenged(scored)
        model, probability = scored.model, scored.probability
        decision = probability >= model.threshold
        answer = response(request_id, probability, decision, model.version, decided_at, row.as_of)
        record: dict[str, Any] = {
            "request_id": request_id,
            "key": key(request),
            "probability": probability,
            "decision": decision,
            "model_version": model.version,
            "model_digest": model.digest,
            **scored.logged(),
            "decision_time": decided_at,
            "features_as_of": row.as_of,
            "logged_at": datetime.now(UTC),
            "request": request.model_dump(mode="json"),
            "features": row.values,
        }
        try:
            self.log.append(record)
        except configuration.LoopError:
            self.metrics.not_logged.inc()
            raise
        self.metrics.answered(scored, decision)
        return answer

    @bentoml.on_shutdown
    def close(self) -> None:
        self.models.stop()
        self.log.close()


def _unavailable(ctx: bentoml.Context, error: str, detail: str) -> Any:
    # BentoML takes the status from the context, whatever the response that is returned says.
    ctx.response.status_code = 503
    return JSONResponse({"error": error, "detail": detail}, status_code=503)


Predictor.add_asgi_middleware(BodyLimit, limit=64 * 1024)  # type: ignore[attr-defined]
