"""How do the flows' runs fare? Asked for, found, followed, and cleared after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
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
from prefect.states import Cancelled, Crashed

from pipelines.runtime.prefect_commands import FLOW_NAMES
from settings import LoopError, Settings, UnreachableError

DEPLOYMENT_NAME = "loop"  # each flow's only one, such as `train/loop`
POLL_SECONDS = 0.5  # seconds
PAGE_SIZE = 200  # the most that Prefect's server gives at once
Found = TypeVar("Found", FlowRun, TaskRun)
LivenessCheck = Callable[
    [], object
]  # raises what must end the waiting, such as the end of the runner


@contextmanager
def prefect_client(settings: Settings) -> Iterator[SyncPrefectClient]:
    """A client of the server at `settings.prefect_url` alone; `UnreachableError` if it is away."""
    try:
        with SyncPrefectClient(settings.prefect_url) as client:
            yield client
    except httpx.TransportError as error:
        raise UnreachableError(
            f"Prefect's server does not answer at {settings.prefect_url} ({error}). Start it, or "
            "set MLOPS_PREFECT_URL, or for our own one MLOPS_PREFECT_PORT, to where it is."
        ) from error


def require_server(settings: Settings) -> None:
    """Raises `LoopError` if no server answers, with its database, at `settings.prefect_url`."""
    with prefect_client(settings) as client:
        client.hello()
        client.read_flows(limit=1)


@contextmanager
def flows_in_this_process() -> Iterator[None]:
    """Around flows that are called as functions, while the server is there.

    Without heartbeats, whose thread takes a second to end with each flow; what the flows logged is
    with the server when this ends.
    """
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            yield
        finally:
            APILogHandler().flush()


def request_run(
    settings: Settings, flow: str, parameters: Mapping[str, Any], idempotency_key: str
) -> UUID:
    """Asks the runner for a run of `flow`, one of `FLOW_NAMES`, and returns its id.

    The same key again gives the same run, however that one ended.
    """
    with prefect_client(settings) as client:
        deployment = client.read_deployment_by_name(f"{flow}/{DEPLOYMENT_NAME}")
        return client.create_flow_run_from_deployment(
            deployment.id, parameters=dict(parameters), idempotency_key=idempotency_key
        ).id


def wait_for_runner(
    settings: Settings, since: datetime, timeout: float, check: LivenessCheck = bool
) -> None:
    """Returns once a runner that was started after `since` takes runs of every flow.

    Before that the automation may be missing, and an event would start nothing.
    """
    with prefect_client(settings) as client:
        for _ in _until(timeout, "The runner does not take runs", check):
            if all((_polled(client, flow) or since) > since for flow in FLOW_NAMES):
                return


def wait_for_requested_run(
    settings: Settings, flow: str, parameters: Mapping[str, str], since: datetime, timeout: float
) -> UUID:
    """Waits for the run of `flow` that has these parameters, due after `since`; its id."""
    due = filters.FlowRunFilterExpectedStartTime(after_=since)
    with prefect_client(settings) as client:
        for _ in _until(timeout, f"No run of {flow} with {dict(parameters)} was asked for"):
            for run in _all(
                client.read_flow_runs,
                flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=[flow])),
                flow_run_filter=filters.FlowRunFilter(expected_start_time=due),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            ):
                if parameters.items() <= run.parameters.items():
                    return run.id
    raise AssertionError  # `_until` has raised


def follow_run(
    settings: Settings, run_id: UUID, timeout: float, check: LivenessCheck = bool
) -> Iterator[str]:
    """Yields each change of state of the run's tasks, and of the run itself, until it has ended.

    Raises `LoopError` if it has not within `timeout` seconds; the run goes on.
    """
    of_run = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run_id]))
    seen: dict[UUID, str | None] = {}
    ended = 0
    with prefect_client(settings) as client:
        for _ in _until(timeout, f"The run {run_id} has not ended", check):
            run = client.read_flow_run(run_id)
            tasks = list(_all(client.read_task_runs, flow_run_filter=of_run))
            ended += run.state is not None and run.state.is_final()
            # The tasks' states arrive as events, some of them after the run's own last state.
            running = any(task.state is None or not task.state.is_final() for task in tasks)
            settled = ended > 1 and (not running or ended > 4)
            parts: list[TaskRun | FlowRun] = [*reversed(tasks)]
            parts += [run] if settled or not ended else []
            for part in parts:
                if part.state is not None and seen.get(part.id) != part.state.name:
                    seen[part.id] = part.state.name
                    told = f", {part.state.message}" if part.state.message else ""
                    yield f"{part.name}: {part.state.name}{told}"
            if settled:
                return


def wait_for_run_end(
    settings: Settings, run_id: UUID, timeout: float, check: LivenessCheck = bool
) -> State[Any]:
    """The state in which the run ended; `LoopError` if it has not within `timeout` seconds."""
    for _ in follow_run(settings, run_id, timeout, check):
        continue
    with prefect_client(settings) as client:
        state = client.read_flow_run(run_id).state
    if state is None:
        raise LoopError(f"Prefect knows no state of the run {run_id}.")
    return state


def follow_retraining(
    settings: Settings, decision: Mapping[str, Any], timeout: float, check: LivenessCheck = bool
) -> Iterator[str]:
    """Follows the run that `decision` started; `LoopError` if it does not end well."""
    run_id = UUID(decision["run_id"])
    yield from follow_run(settings, run_id, timeout, check)
    ended = wait_for_run_end(settings, run_id, timeout)
    if not ended.is_completed():
        log = settings.var / "logs" / "prefect-runner.log"
        raise LoopError(f"The retraining ended {ended.name}: {ended.message} Its log is {log}.")


def end_leftover_runs(settings: Settings, *, deployed_only: bool = False) -> list[str]:
    """Ends the runs whose process was killed before it could say so; their names.

    To be called while no run can be alive; with `deployed_only`, while no runner serves. A run that
    holds the only slot of its flow would keep it for ever, and one that was asked for and not
    started would start unasked under the next runner. Of the runs of a deployment that the clock
    missed meanwhile, the newest is left: it does what the others would have done.
    """
    gone: State[None] = Crashed(message="Its process was killed, and could not say so.")
    late: State[None] = Cancelled(message="It was asked for under a runner that is gone.")
    missed: State[None] = Cancelled(message="A later run of its schedule does the same.")
    started = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    of_types = filters.FlowRunFilterStateType(any_=[*started, StateType.SCHEDULED])
    left = filters.FlowRunFilter(state=filters.FlowRunFilterState(type=of_types))
    with prefect_client(settings) as client:
        # All of them before the first is ended: that would move the pages.
        found = {
            run.id: run
            for run in _all(client.read_flow_runs, flow_run_filter=left, sort=FlowRunSort.ID_DESC)
            if run.deployment_id or not deployed_only
        }
        waiting = _waiting(found.values())
        ended = [run for run in found.values() if run.id not in waiting]
        for run in ended:
            not_started = missed if run.auto_scheduled else late
            end = gone if run.state_type in started else not_started
            client.set_flow_run_state(run.id, end, force=True)
    return [run.name for run in ended]


def _waiting(found: Iterable[FlowRun]) -> set[UUID]:
    """The runs that the clock scheduled and that may start: those to come, and each newest late."""
    now = datetime.now(UTC)
    waiting, newest = set(), dict[UUID | None, FlowRun]()
    for run in found:
        if not run.auto_scheduled or run.state_type != StateType.SCHEDULED:
            continue
        due, known = run.expected_start_time, newest.get(run.deployment_id)
        if due is None or due > now:
            waiting.add(run.id)
        elif known is None or due > (known.expected_start_time or now):
            newest[run.deployment_id] = run
    return waiting | {run.id for run in newest.values()}


def count_runs_by_state(settings: Settings) -> dict[str, int]:
    """How many runs of all flows the server knows, by the type of the state that they are in."""
    found: dict[str, int] = {}
    with prefect_client(settings) as client:
        for kind in StateType:
            of_kind = filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[kind]))
            n = client.count_flow_runs(flow_run_filter=filters.FlowRunFilter(state=of_kind))
            found |= {kind.value: n} if n else {}
    return found


def _all(read: Callable[..., list[Found]], **asked: Any) -> Iterator[Found]:
    """All that `read`, a method of Prefect's client, finds: page after page."""
    offset = 0
    while page := read(**asked, limit=PAGE_SIZE, offset=offset):
        yield from page
        offset += len(page)
        if len(page) < PAGE_SIZE:
            return


def _polled(client: SyncPrefectClient, flow: str) -> datetime | None:
    try:
        return client.read_deployment_by_name(f"{flow}/{DEPLOYMENT_NAME}").last_polled
    except ObjectNotFound:
        return None


def _until(timeout: float, what: str, check: LivenessCheck = bool) -> Iterator[None]:
    """Yields every `POLL_SECONDS` seconds; after `timeout` raises `LoopError`, told as `what`."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        check()
        yield
        time.sleep(POLL_SECONDS)
    raise LoopError(
        f"{what} within {timeout:.0f} s; see Prefect's own pages or its log in var/logs."
    )
