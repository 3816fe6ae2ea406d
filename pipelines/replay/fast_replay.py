"""The loop through a year of simulated days, fast, by policy: run, stopped, resumed, compared.

The steps of the loop without its servers; `served_replay.py` is the same through all of them.

Each day's record is a line on the disk below `var/replay`; who resumes takes up after the last.
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
from pipelines.replay import policies, served_record, simulated_day
from pipelines.replay.simulated_day import DAY, ReplayState, ReplayWorld
from settings import LoopError, Settings, UserError

PrintLine = Callable[[str], None]
DAYS_FILE = "days.jsonl"


def replay_policies(
    settings: Settings, first: datetime, end: datetime, names: Iterable[str], told: PrintLine
) -> dict[str, pd.DataFrame]:
    """Replays each policy of `names` from `first` to `end`; the days of each, by its name.

    `all` stands for all policies of the parameters. Raises `UserError` for a period or a policy
    that can't be.
    """
    params = settings.params()
    check_period(params, first, end)
    chosen = {
        name: policies.find_policy(params, name) for name in expand_policy_names(params, names)
    }
    from pipelines.replay.world_data import build_world

    made = build_world(settings, first, end)
    return {
        name: replay_policy(replay_folder(settings, first, name), made, name, policy, end, told)
        for name, policy in chosen.items()
    }


def replay_sensitivity(
    settings: Settings, first: datetime, end: datetime, told: PrintLine
) -> dict[str, pd.DataFrame]:
    """The default policy with other limits of its main threshold; the days of each."""
    from pipelines.replay.world_data import build_world

    params = settings.params()
    check_period(params, first, end)
    made, default = build_world(settings, first, end), params["replay"]["default"]
    policy = policies.find_policy(params, default)
    found = {}
    for gap in params["replay"]["sensitivity"]:
        name = f"{default} at {gap:g}"
        place = replay_folder(settings, first, name)
        found[name] = replay_policy(
            place, made, name, policies.with_calibration_limit(policy, gap), end, told
        )
    return found


def check_period(params: dict[str, Any], first: datetime, end: datetime) -> None:
    """Raises `UserError` if there are no data for a replay from `first` to `end`."""
    days = [datetime.fromisoformat(str(params["replay"]["until"])).date(),
            date.fromisoformat(str(params["first_day"]))]  # fmt: skip
    if first != pd.Timestamp(first).floor("D") or end != pd.Timestamp(end).floor("D"):
        raise UserError("A replay goes from the start of one UTC day to that of another.")
    earliest = days[1] + timedelta(days=params["training"]["holdout_days"] + 1)
    if not earliest <= first.date() < end.date() <= days[0]:
        raise UserError(
            f"A replay can't go from {first:%Y-%m-%d} to {end:%Y-%m-%d}: it begins on {earliest} "
            f"or later, after data for a first model, and ends by {days[0]} (replay.until)."
        )


def replay_folder(settings: Settings, first: datetime, name: str) -> Path:
    """Where the days of a replay from `first` are; its end does not change them."""
    return settings.var / "replay" / f"from-{first:%Y%m%d}" / name.replace(" ", "-")


def replay_policy(
    place: Path,
    world: ReplayWorld,
    name: str,
    policy: dict[str, Any],
    end: datetime,
    told: PrintLine,
) -> pd.DataFrame:
    """Replays one policy, from where it was left; its days as a frame, a row each."""
    records = read_done_days(place, world.params, policy)[: (end - world.first).days]
    state = initial_state(world, world.first)
    for day, record in zip(_days(world.first, end), records, strict=False):
        reapply_day(world, state, record, day)
    cost, cases = sum(each["cost"] for each in records), sum(each["n"] for each in records)
    seconds = {0: 0.0, 1: 0.0}  # of days without a training, and with one
    with (place / DAYS_FILE).open("a") as lines:
        for day in _days(world.first + len(records) * DAY, end):
            began = time.perf_counter()
            record = simulated_day.simulate_day(world, state, policy, day)
            seconds[record["trained"]] += time.perf_counter() - began
            records.append(record)
            lines.write(json.dumps(record) + "\n")
            lines.flush()
            cost, cases = cost + record["cost"], cases + record["n"]
            for line in served_record.describe_events(record):
                told(f"{name}: {day:%d %B %Y}, cost {1000 * cost / max(cases, 1):.0f}: {line}")
    trained = sum(each["trained"] for each in records)
    told(
        f"{name}: {len(records)} days, {trained} trainings, cost {1000 * cost / cases:.1f}; "
        f"took {sum(seconds.values()):.0f} s, of it days with a training {seconds[1]:.0f} s"
    )
    return pd.DataFrame(records)


def initial_state(world: ReplayWorld, first: datetime) -> ReplayState:
    """The first model, which the gates must let pass, answers from `first` on."""
    found = world.models.train(first, None)
    if not found.passed:
        refused = "; ".join(each["gate"] for each in found.verdicts if not each["passed"])
        raise LoopError(f"The gates refused the first model of {first:%Y-%m-%d}: {refused}.")
    shape = len(world.frame)
    state = ReplayState(found, first, np.full(shape, np.nan), np.full(shape, -1))
    state.number(found)
    return state


def reapply_day(
    world: ReplayWorld, state: ReplayState, record: dict[str, Any], day: datetime
) -> None:
    """What the record says of the day happens again, without measuring or deciding."""
    action = record["rollout"].split(":")[0]
    if action == "advance":
        state.stage, state.entered = "canary", day
    elif action == "promote":
        simulated_day.promote_challenger(state)
    elif action == "withdraw":
        state.challenger = None
    if record["trained"]:
        found = world.models.train(day, state.champion)
        state.last_training = day
        if found.passed:
            state.challenger, state.stage, state.entered = found, "shadow", day
            state.number(found)
    simulated_day.answer_cases(world, state, world.rows(day, day + DAY))


def expand_policy_names(params: dict[str, Any], names: Iterable[str]) -> list[str]:
    """The policies' names, with all of the parameters' for `all`."""
    known = list(params["replay"]["policies"])
    return [each for name in names for each in (known if name == "all" else [name])]


def _days(first: datetime, end: datetime) -> list[datetime]:
    return [first + number * DAY for number in range((end - first).days)]


def read_done_days(
    place: Path, params: dict[str, Any], policy: dict[str, Any]
) -> list[dict[str, Any]]:
    """The days that are done; none, and a clean start, if they were of other parameters."""
    # Without what decides nothing here; in place of the shipped policy stands `policy`.
    apart = ("replay", "retention", "schedules", "turn")
    kept = {key: params[key] for key in params if key not in apart}
    watched = {key: value for key, value in params["monitoring"].items() if key != "policy"}
    asked = kept | {"monitoring": watched}
    recipe = hashlib.sha256(json.dumps([asked, policy], default=str).encode()).hexdigest()
    note = place / "RECIPE"
    place.mkdir(parents=True, exist_ok=True)
    if not note.exists() or note.read_text() != recipe:
        (place / DAYS_FILE).unlink(missing_ok=True)
        durable_files.write_file(note, recipe)
    # A kill in the middle of a line: that day is lived again.
    lines = durable_files.read_lines(place / DAYS_FILE)
    durable_files.write_file(place / DAYS_FILE, b"".join(line + b"\n" for line in lines))
    return [json.loads(line) for line in lines]
