"""The BentoML service: starts the service's parts and stops them."""

import atexit
import gc
import logging
import os
import signal
import sys
import time

import bentoml
from uvicorn.config import HTTP_PROTOCOLS

import settings as configuration

logger = logging.getLogger(__name__)

# BentoML names no protocol to uvicorn, which then takes "auto" of this table.
HTTP_PROTOCOLS["auto"] = "serving.http.connections:BoundedProtocol"


def _end_as_failed(*_: object) -> None:
    """Stop this process as SIGTERM does, with exit code 1 instead of 0."""
    atexit.register(os._exit, 1)
    os.kill(os.getpid(), signal.SIGTERM)


# BentoML's metrics would stand in /metrics without any value.
@bentoml.service(workers=1, metrics={"enabled": False})
class Predictor:
    """Predicts from the online features with the released model."""

    def __init__(self) -> None:
        try:
            self._start()
        except Exception as error:  # of any kind: BentoML would start this worker for ever
            logger.critical("service can't start: %s", error)
            if bentoml.server_context.worker_index is not None:
                os.kill(os.getppid(), signal.SIGUSR1)
            raise

    @bentoml.on_deployment
    @staticmethod
    def supervise() -> None:
        """Prepare BentoML's supervising process; end it at once if no worker could start.

        A worker that can't start for another reason sends SIGUSR1.
        """
        from serving.command import load_service_settings, require_startable

        signal.signal(signal.SIGUSR1, _end_as_failed)
        try:
            require_startable(load_service_settings())
        except configuration.LoopError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(error.exit_code)

    def _start(self) -> None:
        # Imported here: BentoML's supervising process imports this module and needs none of it.
        from serving import service_logging
        from serving.command import load_service_settings
        from serving.http.access import AccessControl
        from serving.http.api import Api
        from serving.http.connections import BoundedProtocol
        from serving.http.routes import build_routes
        from serving.metrics import Metrics
        from serving.wiring import wire_service

        service_logging.configure_logging()
        settings = load_service_settings()
        access = AccessControl(settings)  # first, since it may raise
        metrics = Metrics()
        self.parts = wire_service(settings, metrics)
        BoundedProtocol.api = Api(build_routes(settings.use_case), self.parts, access)
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
