"""How do the flows' runs fare? Asked for, found, followed, and cleared after a kill."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Crashed

from settings import LoopError, Settings

DEPLOYMENT = "loop"  # each flow's only one, such as `train/loop`
POLL = 0.5  # seconds
STARTED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


@contextmanager
def server(settings: Settings) -> Iterator[SyncPrefectClient]:
    """A client of the server at `settings.prefect_url`, whatever the environment says."""
    with (
        temporary_settings({PREFECT_API_URL: settings.prefect_url}),
        get_client(sync_client=True) as client,
    ):
        yield client


def ask(settings: Settings, flow: str, parameters: Mapping[str, Any], idempotency_key: str) -> UUID:
    """Asks for a run of `flow` (`ingest`, `train`, `monitor`) and returns its id.

    The same key again gives the same run, however it ended.
    """
    with server(settings) as client:
        deployment = client.read_deployment_by_name(f"{flow}/{DEPLOYMENT}")
        return client.create_flow_run_from_deployment(
            deployment.id, parameters=dict(parameters), idempotency_key=idempotency_key
        ).id


def find_run(
    settings: Settings, flow: str, parameters: Mapping[str, Any], since: datetime, timeout: float
) -> UUID:
    """Waits for the run of `flow` that has these parameters, made after `since`; its id.

    This is how the run that an event started is found: its `decision_id` is the decision's. Raises
    `LoopError` if there is none within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    wanted = {name: str(value) for name, value in parameters.items()}
    while True:
        with server(settings) as client:
            made = client.read_flow_runs(
                flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=[flow])),
                flow_run_filter=filters.FlowRunFilter(
                    expected_start_time=filters.FlowRunFilterExpectedStartTime(after_=since)
                ),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            )
        for run in made:
            if all(str(run.parameters.get(name)) == value for name, value in wanted.items()):
                return run.id
        if time.monotonic() > deadline:
            raise LoopError(
                f"No run of {flow} with {wanted} was started within {timeout:.0f} s. The logs of "
                f"Prefect's server and of the runner are in {settings.var / 'logs'}."
            )
        time.sleep(POLL)


def follow(settings: Settings, run_id: UUID, timeout: float) -> Iterator[str]:
    """Yields each change of state of the run's tasks and of the run itself, until it has ended.

    Raises `LoopError` if it has not within `timeout` seconds; the run itself goes on.
    """
    deadline = time.monotonic() + timeout
    seen: dict[UUID, str] = {}
    while True:
        with server(settings) as client:
            run = client.read_flow_run(run_id)
            tasks = client.read_task_runs(
                flow_run_filter=filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run_id]))
            )
        tasks.sort(key=lambda task: str(task.created))
        for part, name, state in [*((task.id, task.name, task.state) for task in tasks),
                                  (run.id, run.name, run.state)]:  # fmt: skip
            if state is not None and seen.get(part) != state.name:
                seen[part] = str(state.name)
                yield f"{name}: {state.name}" + (f", {state.message}" if state.message else "")
        if run.state is not None and run.state.is_final():
            return
        if time.monotonic() > deadline:
            raise LoopError(f"The run {run.name} has not ended within {timeout:.0f} s.")
        time.sleep(POLL)


def wait_for_run(settings: Settings, run_id: UUID, timeout: float) -> State[Any]:
    """The state in which the run ended; `LoopError` if it has not within `timeout` seconds."""
    for _ in follow(settings, run_id, timeout):
        continue
    with server(settings) as client:
        state = client.read_flow_run(run_id).state
    if state is None:
        raise LoopError(f"Prefect knows no state of the run {run_id}.")
    return state


def crash_leftover_runs(settings: Settings) -> list[str]:
    """Ends the runs whose process was killed together with the runner; their names.

    To be called while no runner serves. A run that holds the only slot of its flow would keep it
    for ever, and one that was asked for and not started would start unasked under the next runner.
    """
    gone: State[None] = Crashed(message="Its process was killed together with the runner.")
    late: State[None] = Cancelled(message="It was asked for under a runner that is gone.")
    names = []
    with server(settings) as client:
        for run in _runs(client, STARTED):
            client.set_flow_run_state(run.id, gone, force=True)
            names.append(run.name)
        for run in _runs(client, [StateType.SCHEDULED]):
            if not run.auto_scheduled:
                client.set_flow_run_state(run.id, late, force=True)
                names.append(run.name)
    return names


def _runs(client: SyncPrefectClient, types: list[StateType]) -> list[FlowRun]:
    state = filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=types))
    deployed = filters.FlowRunFilterDeploymentId(is_null_=False)
    return client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(state=state, deployment_id=deployed)
    )
