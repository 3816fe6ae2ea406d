"""A served replay on a running stack: the checks before it, and the replay itself.

If the settings name Prefect's server and a service, the replay uses that stack's stores, worker,
release and policy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta

import pandas as pd

from features import durable_files
from pipelines.replay import fast_replay, policies, served_record, served_replay
from pipelines.retraining import monitor
from pipelines.training import training_outcome
from serving.prediction_log import reader
from serving.release import document
from settings import Settings, UserError

DAY = timedelta(days=1)
POLICY_SETTING = "monitoring.policy"
START_OVER = "A replay needs an empty stack: run `make clean-stack`, then `make up`."


def uses_running_stack(settings: Settings) -> bool:
    """Whether the settings name a stack: both Prefect's server and the service are external."""
    return not (settings.owns_prefect or settings.owns_service)


def replay_on_stack(
    settings: Settings, first: datetime, end: datetime, names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Replay the stack's own policy from `first` to `end`; return its days by policy name.

    Raises `UserError` for an invalid period, for any of `names`, and for a used stack; `LoopError`
    if the replay stops early.
    """
    fast_replay.check_period(settings.params(), first, end)
    if names:
        raise UserError(
            f"A running stack has one policy, {POLICY_SETTING} in usecase/params.yaml. Leave out "
            "--policy, or replay several policies without a stack."
        )
    days = served_replay.run_replay(settings, settings, os.environ, POLICY_SETTING, first, end)
    return {POLICY_SETTING: days}


def claim_stack(settings: Settings, first: datetime) -> None:
    """Record that the stack runs a replay from `first` on. The caller holds the run lock.

    Raises `UserError` if the stack runs another replay, or was used without one.
    """
    claim = {"from": first.isoformat(), "params": policies.params_digest(settings.params())}
    note = settings.var / "replay" / "stack.json"
    existing, served = durable_files.read_json(note), document.read_release(settings.release_file)
    day = first + len(served_record.read_day_records(served_record.records_folder(settings))) * DAY
    problem = ""
    if existing is None and served:
        version = served.champion.version
        problem = f"Version {version} is released on this stack, but not by a replay."
    elif existing and existing["from"] != claim["from"]:
        since = existing["from"][:10]
        problem = f"This stack runs a replay from {since}, not {first:%Y-%m-%d}."
    elif existing and existing != claim:
        problem = "This stack runs a replay with other parameters."
    elif activity := list_later_activity(settings, day):
        problem = (
            f"The replay is at {day:%Y-%m-%d}, but the stack has continued without it: "
            f"{'; '.join(activity)}."
        )
    if problem:
        raise UserError(f"{problem} {START_OVER}")
    durable_files.write_json(note, claim)


def list_later_activity(settings: Settings, day: datetime) -> list[str]:
    """List what happened as of later moments than a replay whose next day is `day` allows."""
    activity = []
    trainings = [each["as_of"] for each in training_outcome.list_outcomes(settings)]
    latest = monitor.latest_result(settings)
    monitored = [latest["as_of"]] if latest else []
    for what, moments in (("trained", trainings), ("monitored", monitored)):
        if later := [each for each in moments if datetime.fromisoformat(each) > day]:
            activity.append(f"{what} as of {max(later)[:16]}")
    log = reader.read_predictions(settings.predictions, since=day + DAY)
    if len(log):
        last = log["decision_time"].max()
        activity.append(f"{len(log):,} cases predicted up to {last:%Y-%m-%d}")
    return activity
