"""The fast replay: simulated days by policy with the loop's steps only, without its servers.

`served_replay.py` replays the same days through the servers. Each day's record is a line below
`var/replay`; a stopped replay resumes after the last line.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import durable_files
from pipelines.replay import policies, served_record
from pipelines.replay.replay_state import DAY, ReplayState, ReplayWorld, predict_cases
from pipelines.replay.simulated_day import simulate_day
from settings import LoopError, Settings, UserError

PrintLine = Callable[[str], None]
DAYS_FILE = "days.jsonl"


def replay_policies(
    settings: Settings, first: datetime, end: datetime, names: Iterable[str], print_line: PrintLine
) -> dict[str, pd.DataFrame]:
    """Replay each policy of `names` from `first` to `end`; return the days by policy name.

    `all` means all policies of the parameters. Raises `UserError` for an invalid period or policy.
    """
    params = settings.params()
    check_period(params, first, end)
    chosen = {
        name: policies.find_policy(params, name) for name in expand_policy_names(params, names)
    }
    from pipelines.replay.world_data import build_world

    world = build_world(settings, first, end)
    return {
        name: replay_policy(
            replay_folder(settings, first, name), world, name, policy, end, print_line
        )
        for name, policy in chosen.items()
    }


def replay_sensitivity(
    settings: Settings, first: datetime, end: datetime, print_line: PrintLine
) -> dict[str, pd.DataFrame]:
    """Replay the default policy with other calibration limits; return the days by name."""
    from pipelines.replay.world_data import build_world

    params = settings.params()
    check_period(params, first, end)
    world, default = build_world(settings, first, end), params["replay"]["default"]
    policy = policies.find_policy(params, default)
    days = {}
    for gap in params["replay"]["sensitivity"]:
        name = f"{default} at {gap:g}"
        limited = policies.with_calibration_limit(policy, gap)
        folder = replay_folder(settings, first, name)
        days[name] = replay_policy(folder, world, name, limited, end, print_line)
    return days


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
    return settings.var / "replay" / f"from-{first:%Y%m%d}" / name.replace(" ", "-")


def replay_policy(
    folder: Path,
    world: ReplayWorld,
    name: str,
    policy: dict[str, Any],
    end: datetime,
    print_line: PrintLine,
) -> pd.DataFrame:
    """Replay one policy, resuming after the recorded days; return a row per day."""
    records = read_done_days(folder, world.params, policy)[: (end - world.first).days]
    state = initial_state(world, world.first)
    for day, record in zip(_days(world.first, end), records, strict=False):
        reapply_day(world, state, record, day)
    cost, n_cases = sum(each["cost"] for each in records), sum(each["n"] for each in records)
    seconds = {0: 0.0, 1: 0.0}  # days without a training, days with one
    with (folder / DAYS_FILE).open("a") as lines:
        for day in _days(world.first + len(records) * DAY, end):
            began = time.perf_counter()
            record = simulate_day(world, state, policy, day)
            seconds[record["trained"]] += time.perf_counter() - began
            records.append(record)
            lines.write(json.dumps(record) + "\n")
            lines.flush()
            cost, n_cases = cost + record["cost"], n_cases + record["n"]
            for line in served_record.describe_events(record):
                per_1000 = 1000 * cost / max(n_cases, 1)
                print_line(f"{name}: {day:%d %B %Y}, cost {per_1000:.0f}: {line}")
    trained = sum(each["trained"] for each in records)
    print_line(
        f"{name}: {len(records)} days, {trained} trainings, cost {1000 * cost / n_cases:.1f}; "
        f"took {sum(seconds.values()):.0f} s, {seconds[1]:.0f} s of it for days with a training"
    )
    return pd.DataFrame(records)


def initial_state(world: ReplayWorld, first: datetime) -> ReplayState:
    """Train the first model, which is champion from `first` on.

    Raises `LoopError` if the gates refuse it.
    """
    model = world.models.train(first, None)
    if not model.passed:
        refused = "; ".join(each["gate"] for each in model.verdicts if not each["passed"])
        raise LoopError(f"The gates refused the first model of {first:%Y-%m-%d}: {refused}.")
    n_cases = len(world.frame)
    state = ReplayState(model, first, np.full(n_cases, np.nan), np.full(n_cases, -1))
    state.number(model)
    return state


def reapply_day(
    world: ReplayWorld, state: ReplayState, record: dict[str, Any], day: datetime
) -> None:
    """Reapply the recorded decisions of a day, without measuring or deciding."""
    action = record["rollout"].split(":")[0]
    if action == "advance":
        state.stage, state.entered = "canary", day
    elif action == "promote":
        state.promote_challenger()
    elif action == "withdraw":
        state.challenger = None
    if record["trained"]:
        model = world.models.train(day, state.champion)
        state.last_training = day
        if model.passed:
            state.start_shadow(model, day)
    predict_cases(world, state, world.rows(day, day + DAY))


def expand_policy_names(params: dict[str, Any], names: Iterable[str]) -> list[str]:
    """Return the names of policies, with `all` replaced by all policies of the parameters."""
    known = list(params["replay"]["policies"])
    return [each for name in names for each in (known if name == "all" else [name])]


def _days(first: datetime, end: datetime) -> list[datetime]:
    return [first + number * DAY for number in range((end - first).days)]


def read_done_days(
    folder: Path, params: dict[str, Any], policy: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the recorded days; delete them first if the parameters have changed."""
    # Only sections that affect a replay; `policy` replaces the shipped policy.
    irrelevant = ("replay", "retention", "schedules", "turn")
    relevant = {key: params[key] for key in params if key not in irrelevant}
    monitoring = {key: value for key, value in params["monitoring"].items() if key != "policy"}
    relevant |= {"monitoring": monitoring}
    recipe = hashlib.sha256(json.dumps([relevant, policy], default=str).encode()).hexdigest()
    note = folder / "RECIPE"
    folder.mkdir(parents=True, exist_ok=True)
    if not note.exists() or note.read_text() != recipe:
        (folder / DAYS_FILE).unlink(missing_ok=True)
        durable_files.write_file(note, recipe)
    # Drop a half-written line after a kill; its day is simulated again.
    lines = durable_files.read_lines(folder / DAYS_FILE)
    durable_files.write_file(folder / DAYS_FILE, b"".join(line + b"\n" for line in lines))
    return [json.loads(line) for line in lines]
