"""What do the parts and the loop look like now, and who hears of an alert? Serves `mlops watch`.

GET /metrics is what Prometheus scrapes, POST /alerts what Alertmanager calls. A value that can't be
read is left out and `mlops_watch_failures` says so: an answer with gaps is worth more than none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines import alerts, probes, standing
from pipelines.standing import Sample
from settings import LoopError, Settings

logger = logging.getLogger(__name__)
LIMIT = 1 << 20  # bytes of a notification
PATIENCE = 45.0  # seconds until an alert is on the disk; below Alertmanager's shortest interval
HELP = {
    **standing.HELP,
    "up": "Whether a part does its work",
    "watch_failures": "Whether this could not be read",
}


class Watch:
    """The application; one instance a process."""

    def __init__(self, settings: Settings, *, patience: float = PATIENCE) -> None:
        self._settings, self._patience = settings, patience
        # More threads than there is to ask: one that hangs must not keep the next scrape waiting.
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="watch")
        self._told: dict[str, str] = {}
        self.app = Starlette(
            routes=[
                Route("/metrics", self.metrics),
                Route("/healthz", self.healthz),
                Route("/livez", self.healthz),  # as the service calls it
                Route("/alerts", self.alerts, methods=["POST"]),
            ]
        )

    async def healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def metrics(self, _: Request) -> Response:
        """GET /metrics: all parts and readers at once, each within its budget."""
        parts = probes.named(self._settings)
        asked: dict[str, Callable[[], Any]] = {
            **parts,
            **{name: self._reading(name) for name in standing.READERS},
        }
        answers = await asyncio.gather(*(self._ask(*each) for each in asked.items()))
        found = dict(zip(asked, answers, strict=True))
        samples = [Sample("up", found[part] is not None, {"part": part}) for part in parts]
        for name in standing.READERS:
            samples += found[name] or []
            samples.append(Sample("watch_failures", found[name] is None, {"what": name}))
        return Response(_exposition(samples), media_type=CONTENT_TYPE_LATEST)

    async def alerts(self, request: Request) -> Response:
        """POST /alerts: 200 when they are on the disk, 503 if they must be sent again."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LIMIT:
                return _refusal(413, "too long", f"The body is longer than {LIMIT} bytes.")
        try:
            given = alerts.Notification.model_validate_json(body)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            return _refusal(400, "malformed", [{**each, "loc": [*each["loc"]]} for each in wrong])
        try:
            await alerts.deliver(self._settings, given.alerts, self._patience)
        except (LoopError, OSError, ValueError) as error:
            logger.warning("Alerts not delivered: %s", error)
            return _refusal(503, "not delivered", str(error))
        return JSONResponse({"recorded": len(given.alerts)})

    def _reading(self, name: str) -> Callable[[], list[Sample]]:
        return lambda: list(standing.READERS[name](self._settings))

    async def _ask(self, name: str, question: Callable[[], Any]) -> Any:
        """The answer, True if that is None; None if there was none in time. Tells each new why."""
        loop = asyncio.get_running_loop()
        try:
            asked = loop.run_in_executor(self._threads, question)
            answer = await asyncio.wait_for(asked, probes.BUDGET)
        except Exception as error:  # whatever it was: the others are still worth telling
            why = f"{type(error).__name__}: {error}"
            if self._told.get(name) != why:
                logger.warning("%s: %s", name, why)
            self._told[name] = why
            return None
        if self._told.pop(name, None):
            logger.warning("%s: well again", name)
        return True if answer is None else answer


def serve(settings: Settings, host: str, port: int) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvicorn.run(Watch(settings).app, host=host, port=port, access_log=False, log_level="warning")


def _refusal(status: int, error: str, detail: Any) -> Response:
    return JSONResponse({"error": error, "detail": detail}, status_code=status)


def _exposition(samples: Iterable[Sample]) -> bytes:
    """In Prometheus' text format, every name with its help and the prefix `mlops_`."""
    families: dict[str, GaugeMetricFamily] = {}
    for name, value, labels in samples:
        if name not in families:
            families[name] = GaugeMetricFamily(f"mlops_{name}", HELP[name], labels=sorted(labels))
        families[name].add_metric([labels[label] for label in sorted(labels)], float(value))
    registry = CollectorRegistry()
    registry.register(_Families(families.values()))
    return generate_latest(registry)


class _Families:
    """What was read, as prometheus_client wants to be told."""

    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families
