"""The BentoML service: starts the service's parts and stops them."""

import gc
import logging
import os
import time

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

import settings as configuration

logger = logging.getLogger(__name__)


class ApiMiddleware:
    """ASGI middleware: `serving.http.api` answers all HTTP requests; BentoML gets the rest."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await bentoml.get_current_service().api(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},  # the prediction log holds more
    # BentoML makes a label of every requested path; `serving.metrics` counts known routes only.
    metrics={"enabled": False},
    tracing={"excluded_urls": [".*"]},  # nobody reads its traces
)
class Predictor:
    """Predicts from the online features with the released model."""

    def __init__(self) -> None:
        # Imported here: BentoML's supervising process imports this module and needs none of it.
        from serving import service_logging
        from serving.http.access import AccessControl
        from serving.http.api import Api
        from serving.http.routes import ROUTES
        from serving.metrics import Metrics
        from serving.wiring import wire_service

        service_logging.configure_logging()
        settings = configuration.load_settings()
        access = AccessControl(settings)  # first, since it may raise
        metrics = Metrics()
        self.parts = wire_service(settings, metrics)
        self.api = Api(ROUTES, self.parts, access)
        self.parts.models.start()
        gc.collect()
        gc.freeze()  # loaded objects stay: collecting them again and again delays requests
        metrics.ready_cpu.set(time.process_time())
        fields = {"pid": os.getpid(), "stage": settings.stage, "code": configuration.__file__}
        logger.info("service started", extra=fields)

    @bentoml.on_shutdown
    def close(self) -> None:
        logger.info("service stops", extra={"pid": os.getpid()})
        self.parts.close()


Predictor.add_asgi_middleware(ApiMiddleware)  # type: ignore[attr-defined]
