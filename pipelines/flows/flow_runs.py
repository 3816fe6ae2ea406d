"""Runs of the flows on a Prefect server: find, follow and count them."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from pipelines.runtime.prefect_commands import FLOW_NAMES
from settings import LoopError, Settings, UnreachableError

POLL_SECONDS = 1.0  # each poll takes CPU time from the run that it follows
PAGE_SIZE = 200  # the maximum of Prefect's server
AnyRun = TypeVar("AnyRun", FlowRun, TaskRun)
LivenessCheck = Callable[[], object]  # raises to end the waiting, such as when the runner stopped


@contextmanager
def prefect_client(settings: Settings) -> Iterator[SyncPrefectClient]:
    """Yield a client of the server at `settings.prefect_url`.

    Raises `UnreachableError` if the server does not answer.
    """
    try:
        with SyncPrefectClient(settings.prefect_url) as client:
            yield client
    except httpx.TransportError as error:
        raise UnreachableError(
            f"Prefect's server does not answer at {settings.prefect_url} ({error}). Start it, or "
            "set MLOPS_PREFECT_URL to its address (MLOPS_PREFECT_PORT for the loop's own server)."
        ) from error


def require_server(settings: Settings) -> None:
    """Raise `LoopError` unless the server at `settings.prefect_url` and its database answer."""
    with prefect_client(settings) as client:
        client.hello()
        client.read_flows(limit=1)


@contextmanager
def flows_in_this_process() -> Iterator[None]:
    """Prepare this process to call flows as functions, against a running server.

    Turns heartbeats off: their thread costs a second at the end of each flow. Sends the flows' logs
    to the server at the end.
    """
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            yield
        finally:
            APILogHandler().flush()


def wait_for_runner(
    settings: Settings, since: datetime, timeout: float, check: LivenessCheck = bool
) -> None:
    """Wait until a runner started after `since` polls for runs of every flow.

    Before that the automation may be missing, so that an event starts nothing.
    """
    with prefect_client(settings) as client:
        for _ in _poll(settings, timeout, "The runner does not take runs", check):
            if all((_last_polled(settings, client, flow) or since) > since for flow in FLOW_NAMES):
                return


def wait_for_requested_run(
    settings: Settings, flow: str, parameters: Mapping[str, str], since: datetime, timeout: float
) -> UUID:
    """Wait for a run of `flow` with these parameters, due after `since`; return its id."""
    due = filters.FlowRunFilterExpectedStartTime(after_=since)
    with prefect_client(settings) as client:
        for _ in _poll(
            settings, timeout, f"No run of {flow} with {dict(parameters)} was requested"
        ):
            for run in read_all_pages(
                client.read_flow_runs,
                flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=[flow])),
                flow_run_filter=filters.FlowRunFilter(expected_start_time=due),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            ):
                if parameters.items() <= run.parameters.items():
                    return run.id
    raise AssertionError  # `_poll` has raised


def follow_run(
    settings: Settings, run_id: UUID, timeout: float, check: LivenessCheck = bool
) -> Generator[str, None, State[Any]]:
    """Yield a line for each change of state of the run and of its tasks; return its final state.

    Raises `LoopError` after `timeout` seconds; the run goes on.
    """
    of_run = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run_id]))
    seen: dict[UUID, str | None] = {}
    ended = 0
    with prefect_client(settings) as client:
        for _ in _poll(settings, timeout, f"The run {run_id} has not ended", check):
            run = client.read_flow_run(run_id)
            tasks = list(read_all_pages(client.read_task_runs, flow_run_filter=of_run))
            ended += run.state is not None and run.state.is_final()
            # Task states arrive as events, some of them after the run's own last state.
            running = any(task.state is None or not task.state.is_final() for task in tasks)
            settled = ended > 1 and (not running or ended > 4)
            parts: list[TaskRun | FlowRun] = [*reversed(tasks)]
            parts += [run] if settled or not ended else []
            for part in parts:
                if part.state is not None and seen.get(part.id) != part.state.name:
                    seen[part.id] = part.state.name
                    label = f"flow run {part.name}" if part is run else part.name
                    message = f", {part.state.message}" if part.state.message else ""
                    yield f"{label}: {part.state.name}{message}"
            if settled and run.state is not None:
                return run.state
    raise AssertionError  # `_poll` has raised


def follow_retraining(
    settings: Settings, decision: Mapping[str, Any], timeout: float, check: LivenessCheck = bool
) -> Iterator[str]:
    """Follow the run that `decision` started; raise `LoopError` unless it completes."""
    state = yield from follow_run(settings, UUID(decision["run_id"]), timeout, check)
    if not state.is_completed():
        log = settings.state / "logs" / "prefect-runner.log"
        raise LoopError(f"The retraining ended {state.name}: {state.message} Its log is {log}.")


def count_runs_by_state(settings: Settings) -> dict[str, int]:
    """Return the number of runs of all flows on the server, by state type."""
    counts: Counter[str] = Counter()
    with prefect_client(settings) as client:
        for kind in StateType:
            of_kind = filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[kind]))
            query = filters.FlowRunFilter(state=of_kind)
            counts[kind.value] = client.count_flow_runs(flow_run_filter=query)
    return dict(+counts)


def read_all_pages(read: Callable[..., list[AnyRun]], **query: Any) -> Iterator[AnyRun]:
    """Yield all results of `read`, a method of Prefect's client, page by page."""
    offset = 0
    while page := read(**query, limit=PAGE_SIZE, offset=offset):
        yield from page
        offset += len(page)
        if len(page) < PAGE_SIZE:
            return


def _last_polled(settings: Settings, client: SyncPrefectClient, flow: str) -> datetime | None:
    try:
        return client.read_deployment_by_name(f"{flow}/{settings.usecase}").last_polled
    except ObjectNotFound:
        return None


def _poll(
    settings: Settings, timeout: float, what: str, check: LivenessCheck = bool
) -> Iterator[None]:
    """Yield every `POLL_SECONDS`; raise `LoopError` about `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        check()
        yield
        time.sleep(POLL_SECONDS)
    logs = settings.state / "logs"
    raise LoopError(f"{what} within {timeout:.0f} s. See Prefect's pages or its log in {logs}.")
