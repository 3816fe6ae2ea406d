"""Flow runs that a killed process left in Prefect, and how they are ended."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Crashed

from pipelines.flows.flow_runs import prefect_client, read_all_pages
from settings import Settings


def end_leftover_runs(settings: Settings, *, deployed_only: bool = False) -> list[str]:
    """End the runs whose process was killed before it could report; return their names.

    Call it while no run is alive, or with `deployed_only` while no runner serves. A leftover run
    keeps the only slot of its flow, and a requested run starts unexpectedly under the next runner.
    Of each deployment's late scheduled runs the newest stays: it does the work of the others.
    """
    killed: State[None] = Crashed(message="Its process was killed.")
    orphaned: State[None] = Cancelled(message="The runner that was to start it has ended.")
    superseded: State[None] = Cancelled(message="A later run of its schedule does the same work.")
    started = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    open_types = filters.FlowRunFilterStateType(any_=[*started, StateType.SCHEDULED])
    open_runs = filters.FlowRunFilter(state=filters.FlowRunFilterState(type=open_types))
    with prefect_client(settings) as client:
        # Read all pages before ending the first run: that would shift the pages.
        runs = {
            run.id: run
            for run in read_all_pages(
                client.read_flow_runs, flow_run_filter=open_runs, sort=FlowRunSort.ID_DESC
            )
            if run.deployment_id or not deployed_only
        }
        kept = _scheduled_runs_to_keep(runs.values())
        ended = [run for run in runs.values() if run.id not in kept]
        for run in ended:
            not_started = superseded if run.auto_scheduled else orphaned
            state = killed if run.state_type in started else not_started
            client.set_flow_run_state(run.id, state, force=True)
    return [run.name for run in ended]


def _scheduled_runs_to_keep(runs: Iterable[FlowRun]) -> set[UUID]:
    """Return the scheduled runs to keep: future ones, and each deployment's newest late one."""
    now = datetime.now(UTC)
    future: set[UUID] = set()
    newest: dict[UUID | None, UUID] = {}  # the late run of each deployment
    for run in sorted(runs, key=lambda each: each.expected_start_time or now):
        if not run.auto_scheduled or run.state_type != StateType.SCHEDULED:
            continue
        if run.expected_start_time is None or run.expected_start_time > now:
            future.add(run.id)
        else:
            newest[run.deployment_id] = run.id  # it replaces an earlier one
    return future.union(newest.values())
