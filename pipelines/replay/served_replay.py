"""The loop through simulated days by its real parts: flows, events, registry, release, service.

As `mlops run`, with the moved clock, day after day, in a home of its own below `var/replay/served`:
no store, no release and no clock of the project is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd
import yaml

from features import durable_files
from pipelines.replay import fast_replay, platform_section, policies, served_costs
from pipelines.runtime import child_processes, exclusive
from settings import LoopError, Settings, UserError

IRRELEVANT_SECTIONS = (
    "replay",
    "retention",
    "schedules",
)  # sections that change nothing of what is replayed


def replay_through_service(
    settings: Settings, first: datetime, end: datetime, names: Iterable[str]
) -> dict[str, pd.DataFrame]:
    """Replays each policy of `names` from `first` to `end`; the days of each, by its name.

    Each in a process of its own, which tells its days on this terminal. Raises `UserError` for a
    period or a policy that can't be, `LoopError` if a replay ends before its time.
    """
    params = settings.params()
    fast_replay.check_period(params, first, end)
    chosen = {
        name: policies.find_policy(params, name)
        for name in fast_replay.expand_policy_names(params, names)
    }
    found = {}
    for name, policy in chosen.items():
        own = prepare_replay_home(settings, first, name, policy)
        run_days_process(own, replay_environment(own), name, first, end)
        found[name] = served_costs.read_days_with_costs(settings, own, first, end)
        print(
            platform_section.format_time_spent(platform_section.platform_figures(own, found[name])),
            flush=True,
        )
    return found


def run_days_process(
    own: Settings, environment: Mapping[str, str], name: str, first: datetime, end: datetime
) -> None:
    """Lives the days in a process with `environment`.

    Raises `UserError` if it was refused, `LoopError` if it ended before its time.
    """
    period = [moment.isoformat() for moment in (first, end)]
    done = subprocess.run(
        # DVC's own code warns, in the words of its library, whoever imports it.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "pipelines.replay.served_days",
         *period], env=environment, check=False,
    )  # fmt: skip
    if done.returncode == UserError.exit_code:
        raise UserError(f"The replay of {name} was not begun: see above.")
    if done.returncode:
        raise LoopError(
            f"The replay of {name} ended before its time: see above and {own.var / 'logs'}. "
            "The same command goes on from there."
        )


def replay_home(settings: Settings, first: datetime, name: str) -> Settings:
    """The settings of the home in which `name` is replayed from `first` on; its ports are ours."""
    place = (
        settings.var
        / "replay"
        / "served"
        / fast_replay.replay_folder(settings, first, name).parent.name
    )
    return Settings(
        home=place / name, workspace=None, tracking_uri=None, redis=None, feast_registry=None,
        prefect_url="", service_url="", prefect_port=settings.prefect_port,
        service_port=settings.service_port,
    )  # fmt: skip


def prepare_replay_home(
    settings: Settings, first: datetime, name: str, policy: dict[str, Any]
) -> Settings:
    """The home with the parameters of the replay; emptied first if it was made with others."""
    own = replay_home(settings, first, name)
    params = settings.params()
    params["as_of"] = first.isoformat()
    params["monitoring"]["policy"] = policy
    params["release"]["policy"] = "auto"  # nobody is there to approve
    params["gates"]["artefact"]["max_latency_ms"] = 60_000.0  # the wall clock decides nothing
    # Read as they are: those of an older version may lack what this one asks for.
    file = own.params_file
    if file.exists() and relevant_params(yaml.safe_load(file.read_text())) != relevant_params(
        params
    ):
        with exclusive.run_lock(own):
            child_processes.stop_children(own)
        shutil.rmtree(own.home)
    for folder in (own.params_file.parent, own.var):
        folder.mkdir(parents=True, exist_ok=True)
    durable_files.write_file(own.params_file, yaml.safe_dump(params, sort_keys=False))
    return own


def relevant_params(params: dict[str, Any]) -> dict[str, Any]:
    """Without what changes nothing of what is replayed."""
    return {key: value for key, value in params.items() if key not in IRRELEVANT_SECTIONS}


def replay_environment(own: Settings) -> dict[str, str]:
    """Nothing of the project's own but its ports: a replay reaches no store that is somebody's."""
    ours = ("MLOPS_", "PREFECT_", "MLFLOW_TRACKING", "BENTOML_HOME")
    names = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **names, "MLOPS_HOME": str(own.home), "MLOPS_PREFECT_PORT": str(own.prefect_port),
        "MLOPS_SERVICE_PORT": str(own.service_port),
        "MLOPS_LOOKUP_SECONDS": "60",  # how busy this machine is decides nothing either
        "MLOPS_PAGES": "false",  # a day's megabytes of them, which nobody reads
    }  # fmt: skip
