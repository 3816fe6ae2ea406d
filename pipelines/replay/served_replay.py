"""The served replay: simulated days through flows, events, registry, release and service.

Like `mlops run` with a simulated clock, day after day, in a home of its own below
`replay/served` of the use case's state. No store, release or clock of the project is touched. If
the settings name Prefect's server and a service, the replay uses that stack's stores, worker,
release and policy.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import yaml

from features import durable_files
from pipelines.replay import agreement, fast_replay, platform_figures, policies, served_record
from pipelines.replay.served_record import DAY
from pipelines.retraining import monitor
from pipelines.runtime import child_processes, exclusive, run_command
from pipelines.training import training_outcome
from serving.prediction_log.decisions import read_decisions
from serving.release import document
from settings import LoopError, Settings, UserError

POLICY_SETTING = "monitoring.policy"
START_OVER = "A replay needs an empty stack: run `make clean-stack`, then `make up`."


def replay_through_service(
    settings: Settings, first: datetime, end: datetime, chosen: Mapping[str, dict[str, Any]]
) -> dict[str, pd.DataFrame]:
    """Replay each of the `chosen` policies from `first` to `end`; return the days by policy name.

    Each runs in a process of its own, which prints its days on this terminal. Raises `UserError`
    for an invalid period, `LoopError` if a replay stops early.
    """
    fast_replay.check_period(settings.params(), first, end)
    days = {}
    for name, policy in chosen.items():
        own = prepare_replay_home(settings, first, name, policy)
        days[name] = run_replay(settings, own, replay_environment(own), name, first, end)
    return days


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
            f"A running stack has one policy, {POLICY_SETTING} in params.yaml. Leave out "
            "--policy, or replay several policies without a stack."
        )
    days = run_replay(settings, settings, os.environ, POLICY_SETTING, first, end)
    return {POLICY_SETTING: days}


def run_replay(
    settings: Settings, own: Settings, environment: Mapping[str, str], name: str,
    first: datetime, end: datetime,
) -> pd.DataFrame:  # fmt: skip
    """Run the days in a process with `environment`, print where the time went, return the days.

    `own` are the settings of the replay's home. Raises `UserError` if the process refused to start,
    `LoopError` if it stopped early.
    """
    period = [moment.isoformat() for moment in (first, end)]
    done = run_command.run_to_end(
        # Importing DVC causes deprecation warnings in its own code.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "pipelines.replay.served_days",
         *period], env=environment,
    )  # fmt: skip
    if done.returncode == UserError.exit_code:
        raise UserError(f"The replay of {name} did not start. See the output above.")
    if done.returncode:
        raise LoopError(
            f"The replay of {name} stopped early. See the output above and {own.state / 'logs'}. "
            "The same command continues from there."
        )
    days = agreement.read_days_with_costs(settings, own, first, end)
    figures = platform_figures.platform_figures(own, days)
    for what, text in platform_figures.format_times(figures):
        print(f"{what}: {text}", flush=True)
    return days


def replay_home(settings: Settings, first: datetime, name: str) -> Settings:
    """Return the settings of the home of a replay of `name` from `first` on, with our ports."""
    period = fast_replay.replay_folder(settings, first, name).parent.name
    return Settings.isolated(
        settings.state / "replay" / "served" / period / name, usecase=settings.usecase,
        prefect_url="", service_url="", prefect_port=settings.prefect_port,
        service_port=settings.service_port,
    )  # fmt: skip


def prepare_replay_home(
    settings: Settings, first: datetime, name: str, policy: dict[str, Any]
) -> Settings:
    """Write the replay's parameters to its home; delete the home first if they have changed."""
    own = replay_home(settings, first, name)
    params = settings.params()
    params["as_of"] = first.isoformat()
    params["monitoring"]["policy"] = policy
    params["release"]["policy"] = "auto"  # no person approves in a replay
    params["gates"]["artefact"]["max_latency_ms"] = 60_000.0  # this machine's speed must not decide
    # Not `own.params()`: parameters of an older version may lack required settings.
    before = yaml.safe_load(own.params_file.read_text()) if own.params_file.exists() else None
    if before is not None and policies.params_digest(before) != policies.params_digest(params):
        with exclusive.run_lock(own):
            child_processes.stop_children(own)
        shutil.rmtree(own.home)
    for folder in (own.params_file.parent, own.state):
        folder.mkdir(parents=True, exist_ok=True)
    durable_files.write_file(own.params_file, yaml.safe_dump(params, sort_keys=False))
    return own


def replay_environment(own: Settings) -> dict[str, str]:
    """Return an environment without the project's settings but its ports, so no store is shared."""
    own_prefixes = ("MLOPS_", "PREFECT_", "MLFLOW_TRACKING", "BENTOML_HOME")
    names = {name: value for name, value in os.environ.items() if not name.startswith(own_prefixes)}
    return {
        **names, "MLOPS_HOME": str(own.home), "MLOPS_USECASE": own.usecase,
        "MLOPS_PREFECT_PORT": str(own.prefect_port),
        "MLOPS_SERVICE_PORT": str(own.service_port),
        "MLOPS_LOOKUP_SECONDS": "60",  # nor must the load of this machine decide
        "MLOPS_PAGES": "false",  # megabytes a day that nobody reads
    }  # fmt: skip


def claim_stack(settings: Settings, first: datetime) -> None:
    """Record that the stack runs a replay from `first` on. The caller holds the run lock.

    Raises `UserError` if the stack runs another replay, or was used without one.
    """
    claim = {"from": first.isoformat(), "params": policies.params_digest(settings.params())}
    note = settings.state / "replay" / "stack.json"
    existing, served = durable_files.read_json(note), document.read_release(settings)
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
    log = read_decisions(settings, since=day + DAY)
    if len(log):
        last = log["decision_time"].max()
        activity.append(f"{len(log):,} cases predicted up to {last:%Y-%m-%d}")
    return activity
