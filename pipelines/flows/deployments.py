"""The deployments of the flows: schedules, the retraining event, one run of a flow at a time."""

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

from pipelines.flows import flow_runs, flows, leftover_runs
from pipelines.flows.tasks import RETRAIN_EVENT, model_resource
from pipelines.runtime import child_processes, stage_command
from pipelines.runtime.prefect_commands import (
    FLOW_NAMES,
    prefect_environment,
    prefect_worker_command,
)
from settings import Settings, load_settings

WORK_POOL = "loop"
# No schedule: only the event of `monitoring.retraining_decision` starts this flow.
EVENT_STARTED_FLOW = "train"
# Of earlier versions, and a server may still hold them: a flow, and the deployments of all flows.
RETIRED_FLOWS, RETIRED_DEPLOYMENT = ("alert",), "loop"
# A second run would repeat the work of the first, on the same disk and CPU.
ONE_AT_A_TIME = ConcurrencyLimitConfig(
    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
)


def serve_flows(settings: Settings, *, schedules_active: bool) -> None:
    """Serve the flows at `settings.prefect_url` until stopped.

    Replaces the deployments, schedules and automation of an earlier call. All runs are children of
    the serving process: runs that the server lists as running at the start are set to crashed.
    """
    leftover_runs.end_leftover_runs(settings, deployed_only=True)
    delete_retired_deployments(settings)
    tempfile.tempdir = os.environ["TMPDIR"] = str(
        child_processes.make_temporary_folder(settings, "prefect-runner")
    )
    try:
        with temporary_settings({PREFECT_API_URL: settings.prefect_url}):
            serve(
                *build_deployments(settings, schedules_active=schedules_active),
                # Keep the schedules as requested here when this process stops.
                pause_on_shutdown=False, print_starting_message=False, query_seconds=1,
            )  # fmt: skip
    finally:
        child_processes.end_descendants()


def register_deployments(settings: Settings) -> None:
    """Register the work pool, the deployments with active schedules, and the automation.

    Replaces earlier registrations.
    """
    with flow_runs.prefect_client(settings) as client:
        pool = WorkPoolCreate(
            name=WORK_POOL, type="process", description="Runs the flows of the loop"
        )
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(pool)
    delete_retired_deployments(settings)
    with temporary_settings({PREFECT_API_URL: settings.prefect_url}):
        for deployment in build_deployments(settings, schedules_active=True):
            # A worker runs the flows of every use case.
            deployment.job_variables = {"env": {"MLOPS_USECASE": settings.usecase}}
            deployment.apply(work_pool_name=WORK_POOL)


def run_worker(settings: Settings) -> None:
    """Register the deployments, then replace this process by the worker of their pool.

    A pool has one worker. A run that the server still lists as running belonged to a killed worker
    and would keep the only slot of its flow; it is set to crashed first.
    """
    flow_runs.require_server(settings)
    register_deployments(settings)
    for name in leftover_runs.end_leftover_runs(settings, deployed_only=True):
        print(f"set to crashed, because its worker was killed: {name}", flush=True)
    own = {
        "TMPDIR": str(child_processes.make_temporary_folder(settings, "prefect-worker")),
        "PYTHONSAFEPATH": "1",
    }
    environment = {**os.environ, **prefect_environment(settings), **own}
    os.execve(sys.executable, prefect_worker_command(WORK_POOL), environment)


def build_deployments(settings: Settings, *, schedules_active: bool) -> list[RunnerDeployment]:
    """Return a deployment for each flow: schedule (cron, in the use case's zone) and limit."""
    fields = ("as_of", "reason", "codes", "decision_id")
    retrain_trigger = DeploymentEventTrigger(
        name=f"retrain {settings.usecase} when wanted",
        expect={RETRAIN_EVENT}, match={"prefect.resource.id": model_resource(settings)},
        parameters={name: f"{{{{ event.payload.{name} }}}}" for name in fields},
    )  # fmt: skip
    schedules = {
        name: Cron(line, timezone=settings.use_case.time_zone, active=schedules_active)
        for name, line in settings.params()["schedules"].items()
    }
    return [
        RunnerDeployment.from_flow(
            getattr(flows, f"{name}_flow"),
            name=settings.usecase,
            schedules=[schedules[name]] if name in schedules else [],
            triggers=[retrain_trigger] if name == EVENT_STARTED_FLOW else [],
            concurrency_limit=ONE_AT_A_TIME,
            # By module name: a run's process can import it from any folder.
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for name in FLOW_NAMES
    ]


def delete_retired_deployments(settings: Settings) -> None:
    """Delete deployments without the name of a use case, and the automations that start them."""
    with flow_runs.prefect_client(settings) as client:
        for name in (*RETIRED_FLOWS, *FLOW_NAMES):
            with suppress(ObjectNotFound):
                deployment = client.read_deployment_by_name(f"{name}/{RETIRED_DEPLOYMENT}")
                client.delete_resource_owned_automations(f"prefect.deployment.{deployment.id}")
                client.delete_deployment(deployment.id)


if __name__ == "__main__":
    with stage_command.exit_on_error():
        serve_flows(load_settings(), schedules_active="--schedules" in sys.argv[1:])
