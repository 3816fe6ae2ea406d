"""Which steps make a flow, in which order, and what is tried again?

Flows and no arithmetic: the steps are plain functions of other modules, imported by the task
that runs them. Times are aware and UTC; a flow without `as_of` takes the world's time (`clock.py`).
Prefect is in three files: here, `deploy.py` (when the flows run) and `runs.py` (how they fare).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Cancelled

from pipelines import clock, exclusive, runs
from settings import LoopError, UnreachableError, UserError, load

RETRAIN_WANTED = "mlops.retrain.wanted"


def _may_pass(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """A refusal says the same the second time; trouble with the outside may pass."""
    error: Any = state.data
    passing = isinstance(error, UnreachableError) or isinstance(error.__cause__, OSError)
    return passing or not isinstance(error, LoopError)


OUTSIDE: dict[str, Any] = {
    "retries": 2, "retry_delay_seconds": [2, 10], "retry_condition_fn": _may_pass,
}  # fmt: skip


@task(**OUTSIDE)
def fetch(as_of: datetime) -> list[str]:
    from pipelines import ingest

    return ingest.fetch_new(load(), as_of)


@task
def validate(as_of: datetime) -> dict[str, Any]:
    from pipelines import validate

    return validate.validate_new(load(), as_of)


@task
def build_features(as_of: datetime) -> dict[str, Any]:
    from pipelines import build_features

    return build_features.build_new(load(), as_of)


@task(**OUTSIDE)
def publish(as_of: datetime) -> None:
    from features import publish

    publish.publish(load(), as_of)


@task
def open_workspace(as_of: datetime) -> dict[str, Any]:
    from pipelines import workspace

    path = workspace.open_workspace(load(), as_of)
    return {"path": str(path), "stages": workspace.stages(path)}


@task(task_run_name="{stage}")
def run_stage(path: str, stage: str) -> dict[str, Any]:
    from pipelines import workspace

    return workspace.run_stage(load(), Path(path), stage)


@task(**OUTSIDE)
def record(path: str) -> dict[str, str]:
    from pipelines import workspace

    return workspace.record(load(), Path(path))


@task(**OUTSIDE)
def track(path: str, md5s: dict[str, str]) -> dict[str, str]:
    from pipelines import tracking

    return tracking.track(load(), Path(path), md5s)


@task(**OUTSIDE)
def register(path: str, md5s: dict[str, str]) -> dict[str, Any]:
    from pipelines import register

    return register.register(load(), Path(path), md5s)


@task(**OUTSIDE)
def promote(version: str, why: str) -> dict[str, Any]:
    from pipelines import release
    from pipelines.approval import RefusedError

    try:
        return release.promote(load(), version, why=why, by="train_flow")
    except RefusedError as refusal:  # a person's word is awaited, or stands against it
        return {"version": None, "refused": str(refusal)}


@task
def conclude(
    path: str, registered: dict[str, Any], promoted: dict[str, Any] | None, reason: str
) -> dict[str, Any]:
    from pipelines import training

    return training.conclude(load(), Path(path), registered, promoted, reason)


@task
def observe(as_of: datetime) -> dict[str, Any]:
    from pipelines import monitor

    return monitor.observe(load(), as_of)


@task
def want_retraining(decision: dict[str, Any]) -> str:
    """Emits the event of the decision; the id of the training that the automation starts for it.

    Raises `LoopError` if none is started: a decision that nobody acts on is no decision.
    """
    asked = {name: decision[name] for name in ("as_of", "reason", "decision_id")}
    # Not a random id: should this run emit it twice, the server knows it as the same event.
    identity = uuid5(NAMESPACE_URL, f"{flow_run.id}:{decision['decision_id']}")
    resource = {"prefect.resource.id": "mlops.model"}
    event = emit_event(RETRAIN_WANTED, resource, payload=asked, id=identity)
    if event is None:
        raise LoopError(f"Prefect took no event for {asked}; see its log.")
    # From this run's start on: a run of the same decision, crashed since, is not the one.
    return str(runs.find_run(load(), "train", asked, flow_run.scheduled_start_time, timeout=30))


@task
def compact() -> dict[str, int]:
    from serving import compaction

    return compaction.compact(load().predictions)


def _name() -> str:
    """As of when, and why: what the list of runs shows."""
    given = flow_run.parameters
    return " ".join(str(given[name]) for name in ("as_of", "reason") if given.get(name)) or "now"


def _moment(as_of: datetime | None) -> datetime:
    if as_of is None:
        return clock.now(load())
    if as_of.tzinfo is None:
        raise UserError(f"as_of {as_of} has no time zone; write it as 2013-04-01T00:00:00Z.")
    return as_of.astimezone(UTC)


def _yields(as_of: datetime | None) -> bool:
    """Whether a run that the schedule started must leave the world to a replay that moves it."""
    return as_of is None and exclusive.busy(load())


def _yielded() -> Any:
    """A state instead of a result: Prefect shows the run as cancelled, with the reason."""
    return Cancelled(message="A replay is at work: what is due now is due again later.")


@task(**OUTSIDE)
def append_alert(alert: dict[str, str]) -> bool:
    from pipelines import alerts

    return alerts.append(load(), alert)


@flow(name="ingest", flow_run_name=_name)
def ingest_flow(as_of: datetime | None = None, online: bool = True) -> dict[str, Any]:
    """New batches, from the source to the feature tables and, if `online`, to the online store."""
    if _yields(as_of):
        return _yielded()
    moment = _moment(as_of)
    done = {"fetched": fetch(moment), "validated": validate(moment)}
    done |= {"built": build_features(moment)}
    if online:
        publish(moment)
    return done


@flow(name="train", flow_run_name=_name)
def train_flow(
    as_of: datetime | None = None, reason: str = "by hand", decision_id: str = ""
) -> dict[str, Any]:
    """A new version from what is known at `as_of`, promoted if no gate refuses it; its outcome."""
    if _yields(as_of):
        return _yielded()
    opened = open_workspace(_moment(as_of))
    path = opened["path"]
    for stage in opened["stages"]:
        run_stage(path, stage)
    md5s = record(path)
    track(path, md5s)
    registered = register(path, md5s)
    # A refusal is the gates at work, and no failure of the flow.
    why = f"{registered['why']} ({reason})"
    promoted = promote(registered["version"], why) if registered["version"] else None
    return conclude(path, registered, promoted, reason)


@flow(name="monitor", flow_run_name=_name)
def monitor_flow(as_of: datetime | None = None) -> dict[str, Any]:
    """The decision on what production shows at `as_of`, and the retraining that it starts."""
    if _yields(as_of):
        return _yielded()
    decision = observe(_moment(as_of))
    return {**decision, "run_id": want_retraining(decision) if decision["retrain"] else None}


@flow(name="alert", flow_run_name="{alert[name]} {alert[status]}")
def alert_flow(alert: dict[str, str]) -> bool:
    """What Alertmanager told, on the record; False if it is there already."""
    told = f"{alert['name']} {alert['status']} ({alert['severity']}): {alert['description']}"
    get_run_logger().warning("%s See %s", told, alert["runbook"])
    return append_alert(alert)


@flow(name="compact", flow_run_name=_name)
def compact_flow() -> dict[str, int]:
    """The closed segments of the prediction log as Parquet; what became of them, counted."""
    return compact()
