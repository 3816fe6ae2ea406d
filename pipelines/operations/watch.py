"""Serves `mlops watch`: metrics of the parts and of the loop, and the record of alerts.

GET /metrics is what Prometheus scrapes, POST /alerts what Alertmanager calls. A value that can't be
read is left out and `mlops_watch_failures` says so: an answer with gaps is worth more than none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines.operations import alerts, loop_metrics, probes
from pipelines.operations.alerts import Alert
from pipelines.operations.loop_metrics import MetricSample
from settings import Settings

logger = logging.getLogger(__name__)
MAX_BODY_BYTES = 1 << 20  # bytes of a notification
RETRY_SECONDS = 30.0  # seconds until events that Prefect did not take are sent again
METRIC_HELP = {
    **loop_metrics.LOOP_METRIC_HELP,
    "up": "Whether a part does its work",
    "watch_failures": "Whether this could not be read",
}


class WatchServer:
    """The application; one instance a process."""

    def __init__(self, settings: Settings, *, retry: float = RETRY_SECONDS) -> None:
        self._settings, self._retry = settings, retry
        # More threads than there is to ask: one that hangs must not keep the next scrape waiting.
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="watch")
        self._told: dict[str, str] = {}
        self.app = Starlette(
            routes=[
                Route("/metrics", self.metrics),
                Route("/healthz", self.healthz),
                Route("/livez", self.healthz),  # as the service calls it
                Route("/alerts", self.alerts, methods=["POST"]),
            ],
            lifespan=self._sending,
        )

    async def healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def metrics(self, _: Request) -> Response:
        """GET /metrics: all parts and readers at once, each within its budget."""
        parts = probes.configured_probes(self._settings)
        asked: dict[str, Callable[[], Any]] = {
            **parts,
            **{name: self._reading(name) for name in loop_metrics.SAMPLE_READERS},
        }
        answers = await asyncio.gather(*(self._ask(*each) for each in asked.items()))
        found = dict(zip(asked, answers, strict=True))
        samples = [MetricSample("up", found[part] is not None, {"part": part}) for part in parts]
        for name in loop_metrics.SAMPLE_READERS:
            samples += found[name] or []
            samples.append(MetricSample("watch_failures", found[name] is None, {"what": name}))
        return Response(_exposition(samples), media_type=CONTENT_TYPE_LATEST)

    async def alerts(self, request: Request) -> Response:
        """POST /alerts: 200 when they are on the disk, 500 if the disk refuses them."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return _refusal(413, "too long", f"The body is longer than {MAX_BODY_BYTES} bytes.")
        try:
            given = alerts.Notification.model_validate_json(body)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            return _refusal(400, "malformed", [{**each, "loc": [*each["loc"]]} for each in wrong])
        try:
            recorded = await run_in_threadpool(self._record, given.alerts)
        except (OSError, ValueError) as error:
            logger.warning("Alerts not recorded: %s", error)
            return _refusal(
                500, "not recorded", f"{alerts.alert_log_path(self._settings)}: {error}"
            )
        return JSONResponse({"recorded": recorded}, background=BackgroundTask(self._send))

    def _record(self, given: Sequence[Alert]) -> int:
        return sum(alerts.append_alert(self._settings, alert.fields()) for alert in given)

    def _send(self) -> None:
        """Best effort: the alerts are on the disk, and the next call sends what is left."""
        try:
            alerts.send_events(self._settings)
        except Exception as error:  # whatever it was: it is tried again, and the age is a metric
            self._tell("events", f"{type(error).__name__}: {error}")
        else:
            self._tell("events", None)

    @asynccontextmanager
    async def _sending(self, _: Starlette) -> AsyncIterator[None]:
        """While the application runs, events that Prefect did not take are sent again."""

        async def again() -> None:
            while True:
                await run_in_threadpool(self._send)
                await asyncio.sleep(self._retry)

        task = asyncio.create_task(again())
        yield
        task.cancel()

    def _reading(self, name: str) -> Callable[[], list[MetricSample]]:
        return lambda: list(loop_metrics.SAMPLE_READERS[name](self._settings))

    async def _ask(self, name: str, question: Callable[[], Any]) -> Any:
        """The answer, True if that is None; None if there was none in time. Tells each new why."""
        loop = asyncio.get_running_loop()
        try:
            asked = loop.run_in_executor(self._threads, question)
            answer = await asyncio.wait_for(asked, probes.BUDGET)
        except Exception as error:  # whatever it was: the others are still worth telling
            self._tell(name, f"{type(error).__name__}: {error}")
            return None
        self._tell(name, None)
        return True if answer is None else answer

    def _tell(self, name: str, why: str | None) -> None:
        """Logs each new reason why `name` failed, and that it is well again."""
        if why is None:
            if self._told.pop(name, None):
                logger.warning("%s: well again", name)
        elif self._told.get(name) != why:
            logger.warning("%s: %s", name, why)
            self._told[name] = why


def serve_watch(settings: Settings, host: str, port: int) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvicorn.run(
        WatchServer(settings).app, host=host, port=port, access_log=False, log_level="warning"
    )


def _refusal(status: int, error: str, detail: Any) -> Response:
    return JSONResponse({"error": error, "detail": detail}, status_code=status)


def _exposition(samples: Iterable[MetricSample]) -> bytes:
    """In Prometheus' text format, every name with its help and the prefix `mlops_`."""
    families: dict[str, GaugeMetricFamily] = {}
    for name, value, labels in samples:
        if name not in families:
            families[name] = GaugeMetricFamily(
                f"mlops_{name}", METRIC_HELP[name], labels=sorted(labels)
            )
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
