"""The processes of a run: Prefect's server, its runner and the service. They end with the run."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from pipelines.runtime import (
    child_processes,
    exclusive,
    prefect_commands,
    server_health,
    upgrade,
)
from serving.command import require_startable, serve_command, serve_environment
from settings import Settings

START_TIMEOUT = 240.0  # seconds until a process must answer, on a busy machine


@contextmanager
def prefect_server(settings: Settings) -> Iterator[None]:
    """Run the block with an answering Prefect server, then end all processes of the run.

    Starts a server, unless the settings name an external one.
    """
    os.environ.update(prefect_commands.prefect_environment(settings))
    # The console shows the journal only. Prefect's pages show the logs of the flows.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    try:
        if settings.owns_prefect:
            _start_server(settings)
        # Not earlier: Prefect reads the environment when it is imported.
        from pipelines.flows import flow_runs, leftover_runs

        if settings.owns_prefect:
            leftover_runs.end_leftover_runs(settings)
        else:
            flow_runs.require_server(settings)
        with flow_runs.flows_in_this_process():
            yield
    finally:
        child_processes.stop_children(settings)


def _start_server(settings: Settings) -> None:
    exclusive.require_port_free(settings.prefect_port, "Prefect's server", "MLOPS_PREFECT_PORT")
    if settings.owns_service:
        require_startable(settings)
        exclusive.require_port_free(settings.service_port, "the service", "MLOPS_SERVICE_PORT")
    upgrade.upgrade_home(settings)  # raises for a database that no server can open
    server = child_processes.start_child(
        settings, "prefect-server", prefect_commands.prefect_server_command(settings), {}
    )
    threading.Thread(target=_import_early, daemon=True).start()
    server_health.wait_until_healthy(server, f"{settings.prefect_url}/health", START_TIMEOUT)


def start_runner(settings: Settings) -> tuple[Callable[[], object], Callable[[], None]]:
    """Start the runner; return a check of it, and a function that waits until it takes runs.

    The check raises `LoopError` once the runner has stopped. With an external Prefect server
    nothing is started or checked: its own worker takes the runs, and an unclaimed run times out.
    """
    from pipelines.flows import flow_runs

    started = datetime.now(UTC)
    require_alive: Callable[[], object] = bool
    if settings.owns_prefect:
        command = prefect_commands.flow_runner_command(schedules_active=False)
        logging = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}
        child = child_processes.start_child(settings, "prefect-runner", command, logging)
        require_alive = partial(server_health.require_alive, child)
    return require_alive, partial(
        flow_runs.wait_for_runner, settings, started, START_TIMEOUT, require_alive
    )


def start_service(settings: Settings) -> Callable[[], None]:
    """Start the prediction service and return a function that waits until it is ready."""
    service: child_processes.Child | str = "the service"
    if settings.owns_service:
        environment = serve_environment(settings)
        service = child_processes.start_child(
            settings, "service", serve_command(settings), environment
        )
    url = f"{settings.service_url}/readyz"
    return partial(server_health.wait_until_healthy, service, url, START_TIMEOUT)


def _import_early() -> None:
    """Import the modules of the first stages while the server starts on another core."""
    # First: its import searches every loaded module, so it is slow in a process with many.
    import skops.io  # noqa: F401

    from pipelines.flows import flows  # noqa: F401
    from pipelines.ingestion import expectation_suites  # noqa: F401
    from pipelines.registry import register  # noqa: F401
