"""The processes of a run: Prefect's server and runner, and the service; each ends with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from pipelines.runtime import child_processes, exclusive, prefect_commands
from serving.command import serve_command, serve_environment
from settings import Settings

START_TIMEOUT = 240.0  # seconds that a process may take to answer, on a machine that does much else


@contextmanager
def prefect_server(settings: Settings) -> Iterator[None]:
    """Prefect's server, answering, while the block runs; then every process of the run is ended.

    It is ours, unless the settings name one that is there.
    """
    from pipelines.flows import flow_runs

    os.environ.update(prefect_commands.prefect_environment(settings))
    # The journal tells what happens; what the flows log is in Prefect's own pages.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    try:
        if settings.owns_prefect:
            _start_server(settings)
            flow_runs.end_leftover_runs(settings)
        else:
            flow_runs.require_server(settings)
        with flow_runs.flows_in_this_process():
            yield
    finally:
        child_processes.stop_children(settings)


def _start_server(settings: Settings) -> None:
    exclusive.require_port_free(settings.prefect_port, "Prefect's server", "MLOPS_PREFECT_PORT")
    if settings.owns_service:
        exclusive.require_port_free(settings.service_port, "the service", "MLOPS_SERVICE_PORT")
    server = child_processes.start_child(
        settings, "prefect-server", prefect_commands.prefect_server_command(settings), {}
    )
    threading.Thread(target=_warm, daemon=True).start()
    child_processes.wait_until_healthy(server, f"{settings.prefect_url}/health", START_TIMEOUT)


def start_runner(settings: Settings) -> Callable[[], Callable[[], None]]:
    """Starts the runner; call the result to wait until it takes runs, which gives its check.

    Where Prefect's server is not ours, neither is what takes its runs: a worker that polls.
    """
    from pipelines.flows import flow_runs

    started = datetime.now(UTC)
    alive: Callable[[], None] = _nothing_of_ours
    if settings.owns_prefect:
        command = prefect_commands.flow_runner_command(schedules_active=False)
        told = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}
        child = child_processes.start_child(settings, "prefect-runner", command, told)
        alive = partial(child_processes.require_alive, child)

    def ready() -> Callable[[], None]:
        flow_runs.wait_for_runner(settings, started, START_TIMEOUT, alive)
        return alive

    return ready


def start_service(settings: Settings) -> Callable[[], None]:
    """Starts the prediction service; call the result to wait until it is ready to predict."""
    url = f"{settings.service_url}/readyz"
    if not settings.owns_service:
        return partial(child_processes.wait_for_server, url, START_TIMEOUT, "the service")
    environment = serve_environment(settings)
    child = child_processes.start_child(settings, "service", serve_command(settings), environment)
    return partial(child_processes.wait_until_healthy, child, url, START_TIMEOUT)


def _nothing_of_ours() -> None:
    """What is not ours is not watched here: a run that nobody takes ends by its time limit."""


def _warm() -> None:
    """Imports what the first stages need while the server starts on the other core."""
    from pipelines.flows import flows  # noqa: F401
    from pipelines.ingestion import expectation_suites  # noqa: F401
