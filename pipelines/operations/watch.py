"""The server of `mlops watch`: metrics of the parts and of the loop, and the log of alerts.

Prometheus scrapes GET /metrics; Alertmanager calls POST /alerts. A value that can't be read is left
out, and `mlops_watch_failures` marks it: an incomplete answer is better than none.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines.operations import alerts, loop_metrics, metric_samples, probes
from pipelines.operations.alerts import Alert
from pipelines.operations.metric_samples import MetricSample
from pipelines.runtime.page_guard import PageGuard
from settings import Settings

logger = logging.getLogger(__name__)
MAX_BODY_BYTES = 1 << 20  # of a notification
RETRY_SECONDS = 30.0  # until rejected events are resent
METRIC_HELP = {
    **metric_samples.LOOP_METRIC_HELP,
    "up": "Whether a part works",
    "watch_failures": "Whether these metrics could not be read",
}


class WatchServer:
    """The ASGI application; one instance per process."""

    def __init__(self, settings: Settings, *, retry: float = RETRY_SECONDS) -> None:
        self._settings, self._retry = settings, retry
        # More threads than probes and readers: a hanging one must not delay the next scrape.
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="watch")
        self._failures: dict[str, str] = {}
        self.app = Starlette(
            routes=[
                Route("/metrics", self.metrics),
                Route("/healthz", self.healthz),
                Route("/livez", self.healthz),  # the service's name for it
                Route("/alerts", self.alerts, methods=["POST"]),
            ],
            middleware=[Middleware(PageGuard, settings=settings)],
            lifespan=self._resend_events,
        )

    async def healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def metrics(self, _: Request) -> Response:
        """GET /metrics: run all probes and readers at once, each within its time limit."""
        parts, samples = probes.configured_probes(self._settings), list[MetricSample]()
        readers = loop_metrics.SAMPLE_READERS
        jobs = parts | {name: partial(self._read, readers[name]) for name in readers}
        results = await asyncio.gather(*map(self._run, jobs.values()), return_exceptions=True)
        for name, result in zip(jobs, results, strict=True):
            failed = isinstance(result, BaseException)
            self._log_failure(name, f"{type(result).__name__}: {result}" if failed else None)
            if name in parts:
                samples.append(MetricSample("up", not failed, {"part": name}))
                continue
            samples.append(MetricSample("watch_failures", failed, {"what": name}))
            if not isinstance(result, BaseException):
                samples += result
        return Response(generate_latest(_Exposition(samples)), media_type=CONTENT_TYPE_LATEST)

    def _read(self, reader: loop_metrics.SampleReader) -> list[MetricSample]:
        return list(reader(self._settings))

    async def _run(self, job: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.run_in_executor(self._threads, job), probes.BUDGET)

    async def alerts(self, request: Request) -> Response:
        """POST /alerts: 200 when the alerts are on disk, 500 if they could not be written."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return _refusal(413, "too long", f"The body is longer than {MAX_BODY_BYTES} bytes.")
        try:
            notification = alerts.Notification.model_validate_json(body)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            return _refusal(400, "malformed", [{**each, "loc": [*each["loc"]]} for each in wrong])
        try:
            recorded = await run_in_threadpool(self._append, notification.alerts)
        except (OSError, ValueError) as error:
            logger.warning("Alerts not recorded: %s", error)
            detail = f"{alerts.alert_log_path(self._settings)}: {error}"
            return _refusal(500, "not recorded", detail)
        return JSONResponse({"recorded": recorded}, background=BackgroundTask(self._send_events))

    def _append(self, given: Sequence[Alert]) -> int:
        return sum(alerts.append_alert(self._settings, alert.fields()) for alert in given)

    def _send_events(self) -> None:
        """Send the waiting events, best effort: the next call sends the rest."""
        problem = None
        try:
            alerts.send_events(self._settings)
        except Exception as error:  # the next call retries, and a metric has the age
            problem = f"{type(error).__name__}: {error}"
        self._log_failure("events", problem)

    @asynccontextmanager
    async def _resend_events(self, _: Starlette) -> AsyncIterator[None]:
        """Resend rejected events while the application runs."""

        async def resend() -> None:
            while True:
                await run_in_threadpool(self._send_events)
                await asyncio.sleep(self._retry)

        task = asyncio.create_task(resend())
        yield
        task.cancel()

    def _log_failure(self, name: str, why: str | None) -> None:
        """Log each new reason why `name` failed, and its recovery (`why` is None)."""
        if why is None:
            if self._failures.pop(name, None):
                logger.warning("%s: recovered", name)
        elif self._failures.get(name) != why:
            logger.warning("%s: %s", name, why)
            self._failures[name] = why


def serve_watch(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvicorn.run(
        WatchServer(settings).app, host=host, port=port, access_log=False, log_level="warning"
    )


def _refusal(status: int, error: str, detail: Any) -> Response:
    return JSONResponse({"error": error, "detail": detail}, status_code=status)


class _Exposition(Collector):
    """Prometheus' view of the samples: every name with its help and the prefix `mlops_`."""

    def __init__(self, samples: Iterable[MetricSample]) -> None:
        self._samples = samples

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for short, value, labels in self._samples:
            if value is not None:
                name = f"mlops_{short}"
                family = families.setdefault(name, Metric(name, METRIC_HELP[short], "gauge"))
                family.add_sample(name, dict(labels), float(value))
        return families.values()
