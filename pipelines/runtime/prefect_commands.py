"""The names of the flows, and the commands and environment of Prefect's processes.

This file does not import Prefect.
"""

import sys

from pipelines.runtime import page_guard
from pipelines.runtime.retention import retention_ages
from settings import Settings

PREFECT_APP = "pipelines.runtime.page_guard:prefect_app"
# All flows: the deployments, the wait for a runner and the metrics use this list.
FLOW_NAMES = ("ingest", "compact", "train", "monitor", "rollout", "clean")


def prefect_environment(settings: Settings) -> dict[str, str]:
    """Return what Prefect's processes need in addition to `settings.environment()`."""
    return {
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        **prefect_retention_environment(settings),
        # A runner passes its ports on to the processes of its runs.
        "MLOPS_PREFECT_PORT": str(settings.prefect_port),
        "MLOPS_SERVICE_PORT": str(settings.service_port),
    }


def prefect_retention_environment(settings: Settings) -> dict[str, str]:
    """Return the settings of Prefect's vacuum, which removes old runs and their logs every hour.

    A run is removed `retention.runs_days` after its end. Raises what `retention.retention_ages`
    raises.
    """
    seconds = retention_ages(settings)["runs"].total_seconds()
    return {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(seconds),
    }


def prefect_server_command(settings: Settings) -> list[str]:
    """Return the command of Prefect's API, scheduler, automations and UI, on this machine only."""
    return page_guard.guarded_server_command(PREFECT_APP, settings.prefect_port)


def flow_runner_command(*, schedules_active: bool) -> list[str]:
    """Return the command that serves the flows; `schedules_active` starts scheduled runs, too."""
    flags = ["--schedules"] if schedules_active else []
    return [sys.executable, "-m", "pipelines.flows.deployments", *flags]


def prefect_worker_command(pool: str) -> list[str]:
    """Return the command that runs the due runs of a work pool, each in a child process."""
    return [sys.executable, "-m", "pipelines.flows.worker", "worker", "start", "--pool", pool,
            "--type", "process", "--with-healthcheck", "--install-policy", "never"]  # fmt: skip
