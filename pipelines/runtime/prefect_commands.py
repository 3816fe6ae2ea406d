"""The flows' names, and how Prefect's server and our runner are started, without Prefect."""

from __future__ import annotations

import sys

from pipelines.runtime.retention import retention_ages
from settings import Settings

# All flows. What is deployed, awaited and watched follows from this one list.
FLOW_NAMES = ("ingest", "compact", "train", "monitor", "rollout", "clean")


def prefect_environment(settings: Settings) -> dict[str, str]:
    """What Prefect's processes need on top of `settings.environment()`."""
    return {
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        **prefect_retention_environment(settings),
        # A runner whose settings are not the defaults tells its runs' processes by these two.
        "MLOPS_PREFECT_PORT": str(settings.prefect_port),
        "MLOPS_SERVICE_PORT": str(settings.service_port),
    }


def prefect_retention_environment(settings: Settings) -> dict[str, str]:
    """The settings by which Prefect's server removes old runs with their logs, every hour.

    It is Prefect's own vacuum: `retention.runs_days` after a run's end, and never before that end.
    Raises what `retention.ages` does.
    """
    seconds = retention_ages(settings)["runs"].total_seconds()
    return {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(seconds),
    }


def prefect_server_command(settings: Settings) -> list[str]:
    """Prefect's API, scheduler, automations and UI, on this machine only."""
    port = str(settings.prefect_port)
    return [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1",
            "--port", port]  # fmt: skip


def flow_runner_command(*, schedules_active: bool) -> list[str]:
    """The process that serves our flows; with `schedules_active` also by the clock."""
    flags = ["--schedules"] if schedules_active else []
    return [sys.executable, "-m", "pipelines.flows.deployments", *flags]


def prefect_worker_command(pool: str) -> list[str]:
    """The process that runs what is due in a work pool, each run in a child of its own."""
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool,
            "--type", "process", "--with-healthcheck", "--install-policy", "never"]  # fmt: skip
