"""The Prefect flows: which steps each one runs, and in which order.

No arithmetic here. `as_of` is aware and converted to UTC; without it a flow uses the simulated time
of `clock.py`. Four files import Prefect: this one, `tasks.py` (the steps), `deployments.py` (when
flows run) and `flow_runs.py` (find and follow runs).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Cancelled

from pipelines.flows import tasks
from pipelines.runtime import clock, exclusive
from settings import UserError, load_settings


def _run_name() -> str:
    """Return the run's name in Prefect: its `as_of` and its reason, where given."""
    given = flow_run.parameters
    return " ".join(str(given[name]) for name in ("as_of", "reason") if given.get(name)) or "now"


def _parse_as_of(as_of: datetime | None) -> datetime:
    if as_of is None:
        return clock.now(load_settings())
    if as_of.tzinfo is None:
        raise UserError(f"as_of {as_of} has no time zone. Write it as 2025-04-01T00:00:00Z.")
    return as_of.astimezone(UTC)


def _is_blocked(as_of: datetime | None) -> bool:
    """Whether a scheduled run must wait, because another run moves the simulated time."""
    return as_of is None and exclusive.is_run_active(load_settings())


def _cancelled() -> Any:
    """Return a state in place of a result: Prefect shows the run as cancelled, with the reason."""
    return Cancelled(message="Another run is active. The next scheduled run does this work.")


# Frequent flows persist no results: their steps detect what is already done.
@flow(name="ingest", flow_run_name=_run_name, persist_result=False)
def ingest_flow(as_of: datetime | None = None, online: bool = True) -> dict[str, Any]:
    """Fetch and validate new batches and build features; publish them if `online`."""
    if _is_blocked(as_of):
        return _cancelled()
    moment = _parse_as_of(as_of)
    done: dict[str, Any] = {
        "fetched": tasks.fetch_due_batches(moment),
        "validated": tasks.validate_new_batches(moment),
        "built": tasks.build_feature_tables(moment),
    }
    if online:
        tasks.publish_features(moment)
    return done


@flow(name="train", flow_run_name=_run_name)
def train_flow(
    as_of: datetime | None = None, reason: str = "by hand", decision_id: str = "",
    codes: str = "by_hand",
) -> dict[str, Any]:  # fmt: skip
    """Train a version on the data known at `as_of` and return the outcome.

    A version that passes the gates enters the rollout in shadow; the first version becomes champion
    at once. `codes` are the codes of the decision that gave `reason`, separated by commas.
    """
    if _is_blocked(as_of):
        return _cancelled()
    opened = tasks.open_workspace(_parse_as_of(as_of))
    path = Path(opened["path"])
    for stage, before in opened["stages"].items():
        tasks.run_stage(path, stage, before)
    md5s = tasks.push_outputs(path)
    tasks.log_training(path, md5s)
    registered = tasks.register_version(path, md5s)
    # A gate that refuses a version has done its work: the flow does not fail.
    why = f"{registered['why']} ({reason})"
    entered = tasks.start_rollout(registered["version"], why) if registered["version"] else None
    return tasks.write_outcome(
        path, registered, entered, reason, [code for code in codes.split(",") if code]
    )


@flow(name="monitor", flow_run_name=_run_name)
def monitor_flow(as_of: datetime | None = None, every_days: float | None = None) -> dict[str, Any]:
    """Measure production at `as_of`, decide on retraining, and start it if it is due.

    Also control the rollout, because new labels are known. `every_days` replaces the policy's
    value, for a turn that is shorter.
    """
    if _is_blocked(as_of):
        return _cancelled()
    moment = _parse_as_of(as_of)
    decision = tasks.monitor_champion(moment, every_days)
    tasks.control_rollout(moment, live=as_of is None)
    run_id = tasks.request_retraining(decision) if decision["retrain"] else None
    return {**decision, "run_id": run_id}


@flow(name="rollout", flow_run_name=_run_name, persist_result=False)
def rollout_flow(as_of: datetime | None = None, shadow_days: int | None = None) -> dict[str, Any]:
    """Check the challenger; advance, promote or withdraw it when that is due.

    `shadow_days` replaces `rollout.shadow.days`, for a turn that is shorter.
    """
    if _is_blocked(as_of):
        return _cancelled()
    return tasks.control_rollout(_parse_as_of(as_of), live=as_of is None, shadow_days=shadow_days)


@flow(name="compact", flow_run_name=_run_name, persist_result=False)
def compact_flow() -> dict[str, int]:
    """Write closed segments of the prediction log as Parquet; return the counts."""
    return tasks.compact_log()


@flow(name="clean", flow_run_name=_run_name, persist_result=False)
def clean_flow(as_of: datetime | None = None) -> dict[str, int]:
    """Remove what is past its retention (`retention.py`); return the counts by kind."""
    if _is_blocked(as_of):
        return _cancelled()
    return tasks.remove_expired(_parse_as_of(as_of))
