"""Deployments of the flows: run by the clock, by an event, or by hand; one training at a time."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress

from prefect import serve
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types.entrypoint import EntrypointType

from pipelines.flows import flow_runs, flows
from pipelines.flows.tasks import RETRAIN_EVENT
from pipelines.runtime import child_processes
from pipelines.runtime.prefect_commands import (
    FLOW_NAMES,
    prefect_environment,
    prefect_worker_command,
)
from settings import LoopError, Settings, UserError, load_settings

WORK_POOL = "loop"
# has no schedule: `monitoring.retraining_decision` alone decides, and its event starts it
EVENT_STARTED_FLOW = "train"
RETIRED_FLOWS = ("alert",)  # flows of earlier versions, which a server may still know
# A second run would do over what the first is doing; both would have the same disk and CPU.
ONE_AT_A_TIME = ConcurrencyLimitConfig(
    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
)


def serve_flows(settings: Settings, *, schedules_active: bool) -> None:
    """Serves the flows against the server at `settings.prefect_url`, until it is stopped.

    Registers deployments, schedules and the automation; what an earlier `serve_flows` left is
    replaced.
    All runs are children of the one process that serves, so those that the server still believes
    to be running when it starts are crashed.
    """
    flow_runs.end_leftover_runs(settings, deployed_only=True)
    delete_retired_deployments(settings)
    tempfile.tempdir = os.environ["TMPDIR"] = str(
        child_processes.make_temporary_folder(settings, "prefect-runner")
    )
    with temporary_settings({PREFECT_API_URL: settings.prefect_url}):
        serve(
            *build_deployments(settings, schedules_active=schedules_active),
            # The schedules' state is what was asked for here, and not whether we run just now.
            pause_on_shutdown=False, print_starting_message=False, query_seconds=1,
        )  # fmt: skip


def register_deployments(settings: Settings) -> None:
    """Makes the work pool, the deployments with their schedules on, and the automations.

    What was registered before is replaced: the definitions of this code hold.
    """
    with flow_runs.prefect_client(settings) as client:
        pool = WorkPoolCreate(
            name=WORK_POOL, type="process", description="Runs the flows of the loop"
        )
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(pool)
    delete_retired_deployments(settings)
    with temporary_settings({PREFECT_API_URL: settings.prefect_url}):
        for each in build_deployments(settings, schedules_active=True):
            each.apply(work_pool_name=WORK_POOL)


def run_worker(settings: Settings) -> None:
    """Registers the deployments, and becomes the worker of their pool. Does not return.

    One worker a pool: a run that the server believes to be running was this worker's, which was
    killed, and would hold the only slot of its flow for ever.
    """
    flow_runs.require_server(settings)
    register_deployments(settings)
    for name in flow_runs.end_leftover_runs(settings, deployed_only=True):
        print(f"crashed, its worker was killed: {name}", flush=True)
    own = {"TMPDIR": str(child_processes.make_temporary_folder(settings, "prefect-worker"))}
    environment = {**os.environ, **prefect_environment(settings), **own}
    os.execve(sys.executable, prefect_worker_command(WORK_POOL), environment)


def build_deployments(settings: Settings, *, schedules_active: bool) -> list[RunnerDeployment]:
    """The flows with schedules (cron, in the use case's zone) and limits; nothing is registered."""
    from usecase.target import TIME_ZONE

    wanted = DeploymentEventTrigger(
        name="retrain when wanted",
        expect={RETRAIN_EVENT}, match={"prefect.resource.id": "mlops.model"},
        parameters={
            name: f"{{{{ event.payload.{name} }}}}"
            for name in ("as_of", "reason", "codes", "decision_id")
        },
    )  # fmt: skip
    crons = {
        name: [Cron(line, timezone=TIME_ZONE, active=schedules_active)]
        for name, line in read_schedules(settings).items()
    }
    return [
        RunnerDeployment.from_flow(
            getattr(flows, f"{name}_flow"),
            name=flow_runs.DEPLOYMENT_NAME,
            schedules=crons.get(name, []),
            triggers=[wanted] if name == EVENT_STARTED_FLOW else [],
            concurrency_limit=ONE_AT_A_TIME,
            # By its name: a run's process imports it wherever it is started.
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for name in FLOW_NAMES
    ]


def read_schedules(settings: Settings) -> dict[str, str]:
    """The cron line of each flow that runs by the clock.

    Raises `UserError` if one of them has none, or there is one for another flow.
    """
    planned: dict[str, str] = settings.params()["schedules"]
    where, timed = (
        f"`read_schedules` in {settings.params_file}",
        set(FLOW_NAMES) - {EVENT_STARTED_FLOW},
    )
    if absent := sorted(timed - set(planned)):
        raise UserError(
            f"{where} lacks {', '.join(absent)}: they would never run. Add a cron line for each."
        )
    if unknown := sorted(set(planned) - timed):
        raise UserError(
            f"{where} holds {', '.join(unknown)}, which no clock starts. A retraining is decided "
            "by `monitoring.policy` alone, with `every_days` as its calendar. Remove what is named."
        )
    return planned


def delete_retired_deployments(settings: Settings) -> None:
    """Deletes the deployments of `RETIRED_FLOWS` flows, with the automations that start them."""
    with flow_runs.prefect_client(settings) as client:
        for name in RETIRED_FLOWS:
            with suppress(ObjectNotFound):
                found = client.read_deployment_by_name(f"{name}/{flow_runs.DEPLOYMENT_NAME}")
                client.delete_resource_owned_automations(f"prefect.deployment.{found.id}")
                client.delete_deployment(found.id)


def main() -> None:
    try:
        serve_flows(load_settings(), schedules_active="--schedules" in sys.argv[1:])
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
