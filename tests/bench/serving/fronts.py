"""The service's own scoring behind two other fronts, for `make bench-serving`.

`BentomlApi` is a method under `@bentoml.api`, `FastapiFront` is FastAPI mounted by
`bentoml.asgi_app`. Models, prediction log, metrics and BentoML's options are those of
`serving.service`. Both methods are `async`, so no thread is involved, as in the service.
"""

import gc
import uuid
from typing import Any

import bentoml
from fastapi import FastAPI

import settings as configuration
from serving.http import predict
from serving.http.answer import Moment
from serving.http.api import Request
from serving.http.schemas import use_case_schemas
from serving.metrics import Metrics
from serving.wiring import ServiceParts, wire_service

OPTIONS: dict[str, Any] = {
    "workers": 1, "logging": {"access": {"enabled": False}}, "metrics": {"enabled": False},
    "tracing": {"excluded_urls": [".*"]},
}  # fmt: skip
fastapi = FastAPI()
SCHEMAS = use_case_schemas(configuration.load_settings().use_case)
Answer, ScoreRequest = SCHEMAS.response, SCHEMAS.score_request
Features = ScoreRequest.model_fields["features"].annotation


def start() -> ServiceParts:
    parts = wire_service(configuration.load_settings(), Metrics())
    parts.models.start()
    gc.collect()
    gc.freeze()
    return parts


def answer(parts: ServiceParts, body: ScoreRequest) -> Answer:
    return predict.score(parts, Request(uuid.uuid4().hex, "", body, ""))


@bentoml.service(**OPTIONS)
class BentomlApi:
    def __init__(self) -> None:
        self.parts = start()

    @bentoml.api
    async def score(self, key: str, decision_time: Moment, features: Features) -> Answer:  # type: ignore[valid-type]
        body = ScoreRequest.model_construct(
            key=key, decision_time=decision_time, features=features
        )  # fmt: skip
        return answer(self.parts, body)


@bentoml.service(**OPTIONS)
@bentoml.asgi_app(fastapi)
class FastapiFront:
    def __init__(self) -> None:
        self.parts = start()

    @fastapi.post("/score")
    async def score(self, body: ScoreRequest) -> Answer:
        return answer(self.parts, body)
