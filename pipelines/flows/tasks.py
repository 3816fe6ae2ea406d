"""The Prefect tasks: the single steps of the flows, and which of them Prefect retries.

A task calls a plain function of another module. Modules with slow imports are imported when their
task runs. `flows.py` sets the order.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.events import emit_event
from prefect.runtime import flow_run

from pipelines.flows import flow_runs
from pipelines.ingestion import ingest, validate
from pipelines.runtime import retention
from pipelines.training import (
    build_features,
    dvc_stages,
    mlflow_tracking,
    training_outcome,
    workspace,
)
from settings import LoopError, Settings, UnreachableError, load_settings

RETRAIN_EVENT = "mlops.retrain.wanted"


def _is_transient(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Whether a retry can help: yes for network trouble, no for a refusal."""
    error: Any = state.data
    outside = isinstance(error, UnreachableError) or isinstance(error.__cause__, OSError)
    return outside or not isinstance(error, LoopError)


NETWORK_RETRIES: dict[str, Any] = {
    "retries": 2, "retry_delay_seconds": [2, 10], "retry_condition_fn": _is_transient,
}  # fmt: skip


@task(**NETWORK_RETRIES)
def fetch_due_batches(as_of: datetime) -> list[str]:
    return ingest.fetch_due_batches(load_settings(), as_of)


@task
def validate_new_batches(as_of: datetime) -> dict[str, Any]:
    return validate.validate_new_batches(load_settings(), as_of)


@task
def build_feature_tables(as_of: datetime) -> dict[str, Any]:
    return build_features.build_feature_tables(load_settings(), as_of)


@task(**NETWORK_RETRIES)
def publish_features(as_of: datetime) -> None:
    from features import online_publisher

    online_publisher.publish_features(load_settings(), as_of)


@task
def open_workspace(as_of: datetime) -> dict[str, Any]:
    settings = load_settings()
    path = workspace.open_workspace(settings, as_of)
    return {"path": str(path), "stages": dvc_stages.recipe_stages(settings, path)}


@task(task_run_name="{stage}")
def run_stage(path: Path, stage: str, before: Sequence[str]) -> dict[str, Any]:
    return dvc_stages.run_stage(load_settings(), path, stage, before)


@task(**NETWORK_RETRIES)
def push_outputs(path: Path) -> dict[str, str]:
    return dvc_stages.push_outputs(load_settings(), path)


@task(**NETWORK_RETRIES)
def log_training(path: Path, md5s: dict[str, str]) -> dict[str, str]:
    return mlflow_tracking.log_training(load_settings(), path, md5s)


@task(**NETWORK_RETRIES)
def register_version(path: Path, md5s: dict[str, str]) -> dict[str, Any]:
    from pipelines.registry import register

    return register.register_version(load_settings(), path, md5s)


@task
def write_outcome(
    path: Path, registered: dict[str, Any], entered: dict[str, Any] | None, reason: str,
    codes: list[str],
) -> dict[str, Any]:  # fmt: skip
    return training_outcome.write_outcome(load_settings(), path, registered, entered, reason, codes)


@task(**NETWORK_RETRIES)
def start_rollout(version: str, why: str) -> dict[str, Any]:
    from pipelines.release import rollout_controller

    return rollout_controller.start_rollout(load_settings(), version, why=why, by="train_flow")


@task(**NETWORK_RETRIES)
def control_rollout(as_of: datetime, live: bool, shadow_days: int | None = None) -> dict[str, Any]:
    from pipelines.release import rollout_controller

    return rollout_controller.control_rollout(
        load_settings(), as_of, live=live, shadow_days=shadow_days
    )


@task
def monitor_champion(as_of: datetime, every_days: float | None = None) -> dict[str, Any]:
    from pipelines.retraining import monitor

    return monitor.monitor_champion(load_settings(), as_of, every_days)


def model_resource(settings: Settings) -> str:
    """Return the id by which events name the use case's model."""
    return f"mlops.model.{settings.usecase}"


# Prefect's client keeps an event for about ten seconds; these retries cover a server restart.
@task(retries=6, retry_delay_seconds=10, retry_condition_fn=_is_transient)
def request_retraining(decision: dict[str, Any]) -> str:
    """Emit the event of the decision; return the id of the training run that it starts.

    Raises `LoopError` if no run starts within 120 seconds.
    """
    payload = {name: decision[name] for name in ("as_of", "reason", "decision_id")}
    payload["codes"] = ",".join(decision.get("codes", ()))
    # A fixed id: if this run emits the event twice, the server keeps one.
    identity = uuid5(NAMESPACE_URL, f"{flow_run.id}:{decision['decision_id']}")
    resource = {"prefect.resource.id": model_resource(load_settings())}
    event = emit_event(RETRAIN_EVENT, resource, payload=payload, id=identity)
    if event is None:
        raise LoopError(
            f"Prefect did not accept the event of {payload}. No retraining starts. See its log."
        )
    # Only runs since this run's start: an earlier run of the same decision may have crashed.
    return str(
        flow_runs.wait_for_requested_run(
            load_settings(), "train", payload, flow_run.scheduled_start_time, timeout=120
        )
    )


@task
def compact_log() -> dict[str, int]:
    from serving.prediction_log import compaction

    settings = load_settings()
    return compaction.compact_log(settings.use_case, settings.predictions)


@task
def remove_expired(as_of: datetime) -> dict[str, int]:
    return retention.remove_expired(load_settings(), as_of, datetime.now(UTC))
