"""Which steps make a flow, and in which order?

Flows and no arithmetic. Times are aware and UTC; a flow without `as_of` takes the world's time
(`clock.py`). Prefect is in four files: here, `tasks.py` (the steps, one by one), `deployments.py`
(when
the flows run) and `flow_runs.py` (how they fare).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Cancelled

from pipelines.flows import tasks
from pipelines.runtime import clock, exclusive
from settings import UserError, load_settings


def _name() -> str:
    """As of when, and why: what the list of runs shows."""
    given = flow_run.parameters
    return " ".join(str(given[name]) for name in ("as_of", "reason") if given.get(name)) or "now"


def _moment(as_of: datetime | None) -> datetime:
    if as_of is None:
        return clock.now(load_settings())
    if as_of.tzinfo is None:
        raise UserError(f"as_of {as_of} has no time zone; write it as 2013-04-01T00:00:00Z.")
    return as_of.astimezone(UTC)


def _yields(as_of: datetime | None) -> bool:
    """Whether a run that the schedule started must leave the world to a replay that moves it."""
    return as_of is None and exclusive.is_run_active(load_settings())


def _yielded() -> Any:
    """A state instead of a result: Prefect shows the run as cancelled, with the reason."""
    return Cancelled(message="A replay is at work: what is due now is due again later.")


# A flow that runs often keeps no results: its steps find by themselves what is done.
@flow(name="ingest", flow_run_name=_name, persist_result=False)
def ingest_flow(as_of: datetime | None = None, online: bool = True) -> dict[str, Any]:
    """New batches, from the source to the feature tables and, if `online`, to the online store."""
    if _yields(as_of):
        return _yielded()
    moment = _moment(as_of)
    done = {
        "fetched": tasks.fetch_due_batches(moment),
        "validated": tasks.validate_new_batches(moment),
    }
    done |= {"built": tasks.build_features(moment)}
    if online:
        tasks.publish_features(moment)
    return done


@flow(name="train", flow_run_name=_name)
def train_flow(
    as_of: datetime | None = None, reason: str = "by hand", decision_id: str = "",
    codes: str = "by_hand",
) -> dict[str, Any]:  # fmt: skip
    """A new version from what is known at `as_of`, unless a gate refuses it; its outcome.

    It starts its rollout in the shadow; the first one is champion at once. `codes` are those of the
    decision that `reason` tells, with commas between them.
    """
    if _yields(as_of):
        return _yielded()
    opened = tasks.open_workspace(_moment(as_of))
    path = opened["path"]
    for stage in opened["stages"]:
        tasks.run_stage(path, stage)
    md5s = tasks.push_outputs(path)
    tasks.log_training(path, md5s)
    registered = tasks.register_version(path, md5s)
    # A refusal is the gates at work, and no failure of the flow.
    why = f"{registered['why']} ({reason})"
    entered = tasks.enter_rollout(registered["version"], why) if registered["version"] else None
    return tasks.write_outcome(
        path, registered, entered, reason, [code for code in codes.split(",") if code]
    )


@flow(name="monitor", flow_run_name=_name)
def monitor_flow(as_of: datetime | None = None, every_days: float | None = None) -> dict[str, Any]:
    """The decision on what production shows at `as_of`, and the retraining that it starts.

    Labels have come in by then, so a challenger is looked at, too. `every_days` is in place of the
    policy's, for who can't wait so long.
    """
    if _yields(as_of):
        return _yielded()
    moment = _moment(as_of)
    decision = tasks.monitor_champion(moment, every_days)
    tasks.control_rollout(moment, live=as_of is None)
    return {
        **decision,
        "run_id": tasks.request_retraining(decision) if decision["retrain"] else None,
    }


@flow(name="rollout", flow_run_name=_name, persist_result=False)
def rollout_flow(as_of: datetime | None = None, shadow_days: int | None = None) -> dict[str, Any]:
    """A look at the challenger, and its next step if that is due: on, to the top, or out.

    `shadow_days` replaces `rollout.shadow.days`, for a turn that shows the way in fewer.
    """
    if _yields(as_of):
        return _yielded()
    return tasks.control_rollout(_moment(as_of), live=as_of is None, shadow_days=shadow_days)


@flow(name="compact", flow_run_name=_name, persist_result=False)
def compact_flow() -> dict[str, int]:
    """The closed segments of the prediction log as Parquet; what became of them, counted."""
    return tasks.compact_prediction_log()


@flow(name="clean", flow_run_name=_name, persist_result=False)
def clean_flow(as_of: datetime | None = None) -> dict[str, int]:
    """What has passed its age, removed; how much of each kind. `retention.py` says what that is."""
    if _yields(as_of):
        return _yielded()
    return tasks.remove_expired(_moment(as_of))
