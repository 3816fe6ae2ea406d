"""Of which parts is the service made, and how do they start and stop? The BentoML service."""

from __future__ import annotations

import gc
import logging
import os
import time

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

import settings as configuration

logger = logging.getLogger(__name__)


class ApiMiddleware:
    """ASGI middleware: requests are answered by `serving.http.api`; the rest is BentoML's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await bentoml.get_current_service().api(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},  # the prediction log says more
    # Its own count takes a label from every path that anyone asks for: serving.metrics has a table.
    metrics={"enabled": False},
    tracing={"excluded_urls": [".*"]},  # by a middleware that nobody reads here
)
class Predictor:
    """Predictions from the online features and the released model."""

    def __init__(self) -> None:
        # Not at the top: the supervising process imports this module too, and needs none of it.
        from serving import service_logging
        from serving.metrics import Metrics
        from serving.wiring import wire_service

        service_logging.configure_logging()
        settings = configuration.load_settings()
        metrics = Metrics()
        self.parts = wire_service(settings, metrics)
        self.api = self.parts.api
        self.parts.models.start()
        gc.collect()
        gc.freeze()  # what is loaded stays: walking it again and again holds requests up
        metrics.ready_cpu.set(time.process_time())
        told = {"pid": os.getpid(), "stage": settings.stage, "code": configuration.__file__}
        logger.info("service started", extra=told)

    @bentoml.on_shutdown
    def close(self) -> None:
        logger.info("service stops", extra={"pid": os.getpid()})
        self.parts.close()


Predictor.add_asgi_middleware(ApiMiddleware)  # type: ignore[attr-defined]
