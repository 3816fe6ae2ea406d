"""May a replay live its days on the stack that runs, and where does it stand there?

Where the settings name Prefect's server and a service, the days are lived by what is there: its
stores, its worker, its release, and the policy of its parameters, by which all of it decides.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta

import pandas as pd

from features import durable_files
from pipelines.replay import (
    fast_replay,
    platform_section,
    served_costs,
    served_record,
    served_replay,
)
from pipelines.retraining import monitor
from pipelines.training import training_outcome
from serving.prediction_log import reader
from serving.release import document
from settings import Settings, UserError

DAY = timedelta(days=1)
POLICY_SETTING = "monitoring.policy"
START_OVER = "A replay begins on an empty stack: `make clean-stack`, then `make up`."


def uses_running_stack(settings: Settings) -> bool:
    """Whether the settings name a stack: neither Prefect's server nor the service is ours."""
    return not (settings.owns_prefect or settings.owns_service)


def replay_on_stack(
    settings: Settings, first: datetime, end: datetime, names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Replays the stack's own policy from `first` to `end`; its days, by the policy's name.

    Raises `UserError` for a period that can't be, for any of `names`, and for a stack that has
    lived already; `LoopError` if the replay ends before its time.
    """
    fast_replay.check_period(settings.params(), first, end)
    if names:
        raise UserError(
            f"A stack that runs lives by one policy, {POLICY_SETTING} in usecase/params.yaml: "
            f"leave out "
            "--policy, or replay policies side by side without a stack."
        )
    served_replay.run_days_process(settings, dict(os.environ), POLICY_SETTING, first, end)
    days = served_costs.read_days_with_costs(settings, settings, first, end)
    print(
        platform_section.format_time_spent(platform_section.platform_figures(settings, days)),
        flush=True,
    )
    return {POLICY_SETTING: days}


def claim_stack(settings: Settings, first: datetime) -> None:
    """Notes that the stack lives a replay from `first` on; to be called by who holds the run lock.

    Raises `UserError` if it lives another one, or has lived without one.
    """
    params = json.dumps(
        served_replay.relevant_params(settings.params()), sort_keys=True, default=str
    )
    asked = {"from": first.isoformat(), "params": hashlib.sha256(params.encode()).hexdigest()}
    note = settings.var / "replay" / "stack.json"
    begun = durable_files.read_json(note)
    if begun is None and (served := document.read_release(settings.release_file)):
        raise UserError(
            f"Version {served.champion.version} is released on this stack, by no replay. "
            f"{START_OVER}"
        )
    if begun and begun["from"] != asked["from"]:
        raise UserError(
            f"This stack lives a replay from {begun['from'][:10]}, not {first:%Y-%m-%d}. "
            f"{START_OVER}"
        )
    if begun and begun != asked:
        raise UserError(f"This stack lives a replay with other parameters. {START_OVER}")
    day = first + len(served_record.read_day_records(settings)) * DAY
    if lived := list_later_activity(settings, day):
        raise UserError(
            f"The replay stands at {day:%Y-%m-%d}, and the stack has lived on without it: "
            f"{'; '.join(lived)}. {START_OVER}"
        )
    durable_files.write_json(note, asked)


def list_later_activity(settings: Settings, day: datetime) -> list[str]:
    """What was done as of later moments than a replay does that has to live `day` next."""
    found = []
    trained = [each["as_of"] for each in training_outcome.list_outcomes(settings)]
    looked = monitor.latest_result(settings)
    for what, moments in (("trained", trained), ("monitored", [looked["as_of"]] if looked else [])):
        if later := [each for each in moments if datetime.fromisoformat(each) > day]:
            found.append(f"{what} as of {max(later)[:16]}")
    log = reader.read_predictions(settings.predictions, since=day + DAY)
    if len(log):
        found.append(f"{len(log):,} cases answered up to {log['decision_time'].max():%Y-%m-%d}")
    return found
