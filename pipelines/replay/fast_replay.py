"""The fast replay: simulated days by policy with the loop's steps only, without its servers.

`served_replay.py` replays the same days through the servers. Each day's record is a line below
`replay/` of the use case's state; a stopped replay resumes after the last line.
"""

import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from features import durable_files
from pipelines.replay import policies, served_record
from pipelines.replay.replay_world import ReplayWorld, build_world, train_model
from pipelines.replay.served_record import DAY
from pipelines.replay.simulated_day import ReplayState, predict_cases, simulate_day
from settings import LoopError, Settings, UserError


def replay_policies(
    settings: Settings, first: datetime, end: datetime, chosen: Mapping[str, dict[str, Any]]
) -> dict[str, pd.DataFrame]:
    """Replay each of the `chosen` policies from `first` to `end`; return the days by policy name.

    Raises `UserError` for an invalid period.
    """
    check_period(settings.params(), first, end)
    world = build_world(settings, first, end)
    return {
        name: replay_policy(replay_folder(settings, first, name), world, name, policy, end)
        for name, policy in chosen.items()
    }


def check_period(params: dict[str, Any], first: datetime, end: datetime) -> None:
    """Raise `UserError` if there are no data for a replay from `first` to `end`."""
    until = datetime.fromisoformat(str(params["replay"]["until"])).date()
    first_day = date.fromisoformat(str(params["first_day"]))
    if first != pd.Timestamp(first).floor("D") or end != pd.Timestamp(end).floor("D"):
        raise UserError("A replay starts and ends at midnight UTC. Give days without a time.")
    earliest = first_day + timedelta(days=params["training"]["holdout_days"] + 1)
    if not earliest <= first.date() < end.date() <= until:
        raise UserError(
            f"There are no data for a replay from {first:%Y-%m-%d} to {end:%Y-%m-%d}. Begin on "
            f"{earliest} or later, after data for a first model, and end by {until} (replay.until)."
        )


def replay_folder(settings: Settings, first: datetime, name: str) -> Path:
    """Return the folder of the replay's days; they do not depend on its end."""
    return settings.state / "replay" / f"from-{first:%Y%m%d}" / name.replace(" ", "-")


def replay_policy(
    folder: Path, world: ReplayWorld, name: str, policy: dict[str, Any], end: datetime
) -> pd.DataFrame:
    """Replay one policy, resuming after the recorded days; print events, return a row per day."""
    n_days = (end - world.first).days
    records = read_done_days(folder, world.params, policy)[:n_days]
    state = initial_state(world, world.first)
    for number, record in enumerate(records):
        reapply_day(world, state, record, world.first + number * DAY)
    seconds = {0: 0.0, 1: 0.0}  # days without a training, days with one
    for number in range(len(records), n_days):
        day, began = world.first + number * DAY, time.perf_counter()
        record = simulate_day(world, state, policy, day)
        seconds[record["trained"]] += time.perf_counter() - began
        served_record.append_day_record(folder, record)
        records.append(record)
        for line in served_record.describe_events(record):
            cost = _cost_so_far(records)
            print(f"{name}: {day:%d %B %Y}, cost {cost:.0f}: {line}", flush=True)
    trained = sum(each["trained"] for each in records)
    print(
        f"{name}: {len(records)} days, {trained} trainings, cost {_cost_so_far(records):.1f}; "
        f"took {sum(seconds.values()):.0f} s, {seconds[1]:.0f} s of it for days with a training",
        flush=True,
    )
    return pd.DataFrame(records)


def initial_state(world: ReplayWorld, first: datetime) -> ReplayState:
    """Train the first model, which is champion from `first` on.

    Raises `LoopError` if the gates refuse it.
    """
    model = train_model(world, first, None)
    if not model.passed:
        refused = "; ".join(each["gate"] for each in model.verdicts if not each["passed"])
        raise LoopError(f"The gates refused the first model of {first:%Y-%m-%d}: {refused}.")
    return ReplayState.start(world, model)


def reapply_day(
    world: ReplayWorld, state: ReplayState, record: dict[str, Any], day: datetime
) -> None:
    """Reapply the recorded decisions of a day, without measuring or deciding."""
    state.take_step(record["rollout"].split(":")[0], day)
    if record["trained"]:
        state.train(world, day)
    predict_cases(world, state, world.rows(day, day + DAY))


def read_done_days(
    folder: Path, params: dict[str, Any], policy: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the recorded days; delete them first if the parameters have changed."""
    monitoring = {**params["monitoring"], "policy": policy}
    recipe = policies.params_digest({**params, "monitoring": monitoring})
    note = folder / "RECIPE"
    folder.mkdir(parents=True, exist_ok=True)
    if not note.exists() or note.read_text() != recipe:
        (folder / served_record.DAYS_FILE).unlink(missing_ok=True)
        durable_files.write_file(note, recipe)
    return served_record.read_day_records(folder)


def _cost_so_far(records: list[dict[str, Any]]) -> float:
    cost, n_cases = (sum(each[column] for each in records) for column in ("cost", "n"))
    return float(1000 * cost / max(n_cases, 1))
