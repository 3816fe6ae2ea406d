"""The served replay: simulated days through flows, events, registry, release and service.

Like `mlops run` with a simulated clock, day after day, in a home of its own below
`var/replay/served`. No store, release or clock of the project is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd
import yaml

from features import durable_files
from pipelines.replay import agreement, fast_replay, platform_figures, policies
from pipelines.runtime import child_processes, exclusive
from settings import LoopError, Settings, UserError


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


def run_replay(
    settings: Settings, own: Settings, environment: Mapping[str, str], name: str,
    first: datetime, end: datetime,
) -> pd.DataFrame:  # fmt: skip
    """Run the days in a process with `environment`, print where the time went, return the days.

    `own` are the settings of the replay's home. Raises `UserError` if the process refused to start,
    `LoopError` if it stopped early.
    """
    period = [moment.isoformat() for moment in (first, end)]
    done = subprocess.run(
        # Importing DVC causes deprecation warnings in its own code.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "pipelines.replay.served_days",
         *period], env=environment, check=False,
    )  # fmt: skip
    if done.returncode == UserError.exit_code:
        raise UserError(f"The replay of {name} did not start. See the output above.")
    if done.returncode:
        raise LoopError(
            f"The replay of {name} stopped early. See the output above and {own.var / 'logs'}. "
            "The same command continues from there."
        )
    days = agreement.read_days_with_costs(settings, own, first, end)
    figures = platform_figures.platform_figures(own, days)
    print(platform_figures.format_time_spent(figures), flush=True)
    return days


def replay_home(settings: Settings, first: datetime, name: str) -> Settings:
    """Return the settings of the home of a replay of `name` from `first` on, with our ports."""
    period = fast_replay.replay_folder(settings, first, name).parent.name
    return Settings(
        home=settings.var / "replay" / "served" / period / name,
        workspace=None, tracking_uri=None, redis=None, feast_registry=None,
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
    for folder in (own.params_file.parent, own.var):
        folder.mkdir(parents=True, exist_ok=True)
    durable_files.write_file(own.params_file, yaml.safe_dump(params, sort_keys=False))
    return own


def replay_environment(own: Settings) -> dict[str, str]:
    """Return an environment without the project's settings but its ports, so no store is shared."""
    own_prefixes = ("MLOPS_", "PREFECT_", "MLFLOW_TRACKING", "BENTOML_HOME")
    names = {name: value for name, value in os.environ.items() if not name.startswith(own_prefixes)}
    return {
        **names, "MLOPS_HOME": str(own.home), "MLOPS_PREFECT_PORT": str(own.prefect_port),
        "MLOPS_SERVICE_PORT": str(own.service_port),
        "MLOPS_LOOKUP_SECONDS": "60",  # nor must the load of this machine decide
        "MLOPS_PAGES": "false",  # megabytes a day that nobody reads
    }  # fmt: skip
