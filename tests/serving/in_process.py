"""The service's parts in the test's process: requests to `serving.http.api`, without a port."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from serving.http.access import AccessControl
from serving.http.api import Api
from serving.http.routes import build_routes
from serving.metrics import Metrics
from serving.models.evaluator import export_model
from serving.release.document import Release, ServedModel, write_release
from serving.wiring import ServiceParts, wire_service
from settings import Settings
from tests.use_case import CATEGORIES, FEATURES, NUMBERS, USE_CASE

JSON = {"Content-Type": "application/json"}

# Prometheus' registry accepts each name once in a process.
shared_metrics = cache(Metrics)


def example_request() -> dict[str, Any]:
    """Return a valid request, made of the schema's examples."""
    body = {}
    for name, field in USE_CASE.request().model_json_schema()["properties"].items():
        values = field.get("examples") or field.get("enum")
        body[name] = values[0] if values else None
    return body


def fitted_pipeline(model: Any, numbers: Any = "passthrough") -> Pipeline:
    """Return `model` in a pipeline over the use case's columns, fitted on random rows."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(400, len(NUMBERS))), columns=NUMBERS)
    frame.loc[::7] = np.nan
    for name in CATEGORIES:
        frame[name] = rng.choice(np.array(["AA", "BB", "CCC"], dtype=object), 400)
    ordinal = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
    )
    if numbers != "passthrough":
        ordinal.set_params(unknown_value=-1, encoded_missing_value=-1)
    encode = ColumnTransformer([("categories", ordinal, CATEGORIES), ("numbers", numbers, NUMBERS)])
    pipeline = Pipeline([("encode", encode), ("model", model)])
    return pipeline.fit(frame[FEATURES], rng.integers(0, 2, 400))


@cache
def small_trees() -> Pipeline:
    """Return a small pipeline of trees, fitted once."""
    return fitted_pipeline(HistGradientBoostingClassifier(max_iter=5))


@dataclass(frozen=True)
class LocalService(ServiceParts):
    """The parts of a service in this process, and its ASGI application."""

    api: Api


def service_parts(settings: Settings) -> LocalService:
    """Return the service's parts with `small_trees` released as version 1."""
    digest = export_model(small_trees(), settings.state / "models" / "1")
    champion = ServedModel("1", digest, "../models/1", 0.5)
    write_release(settings, Release(1, champion, datetime.now(UTC)), settings.followed_file)
    parts = wire_service(settings, shared_metrics())
    return LocalService(
        **vars(parts), api=Api(build_routes(USE_CASE), parts, AccessControl(settings))
    )


def send_request(parts: LocalService, method: str, path: str, **options: Any) -> httpx.Response:
    """Send one request through the service's whole ASGI application."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=parts.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def post_json(parts: LocalService, path: str, body: Any, **headers: str) -> httpx.Response:
    """Post `body`: as it is if bytes or text, else as JSON."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    return send_request(parts, "POST", path, content=content, headers=JSON | headers)
