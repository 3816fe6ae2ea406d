"""Do the two replays agree: through flows, stores and service over HTTP, and by the steps alone?"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml

from pipelines import replay, replay_judged, replay_served
from pipelines.stage import moment
from pipelines.tracking import client
from serving import prediction_log
from tests import sliced

Home = Any  # of conftest.py
FIRST, KILLED, END = "2013-01-19", "2013-01-22", "2013-02-18"
POLICY = "often"
# What was decided, by whom and on what; how a stage is told differs by its wording alone.
DECIDED = [
    "day", "n", "trained", "released", "withdrawn", "champion", "challenger", "stage", "retrain",
    "fired",
]  # fmt: skip
MEASURED = ["cost", "baseline_cost", "gap", "bias", "coverage", "drift_share", "delay_hours"]


def parameters() -> dict[str, Any]:
    params = sliced.parameters()
    params["replay"] |= {
        "until": f"{END}T00:00:00Z", "default": POLICY,
        "policies": {
            "never": {"triggers": []},
            POLICY: {"triggers": ["schedule", "calibration"], "every_days": 12,
                     "cool_down_days": 8, "max_calibration_gap": 0.1},
        },
    }  # fmt: skip
    return params


def command(*more: str, end: str = END) -> list[str]:
    return ["replay", "--from", FIRST, "--to", end, "--policy", POLICY, *more]


def kill_in_the_middle(home: Home, day: str) -> None:
    """Runs the replay, and kills it and all that it started while it lives the day after `day`."""
    with subprocess.Popen(
        [*home.mlops, *command()], cwd=home.settings.home, env=home.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"{day}:"):
                break
        else:
            raise AssertionError(f"never told {day}")
        time.sleep(3.0)
        for each in psutil.Process(process.pid).children(recursive=True):
            each.send_signal(signal.SIGKILL)


@pytest.mark.long
def test_both_replays_decide_release_and_cost_the_same_for_a_month(
    tmp_path: Path, make_home: Callable[..., Home]
) -> None:
    home = make_home(tmp_path / "home", measured=False)
    home.settings.params_file.write_text(yaml.safe_dump(parameters()))
    kill_in_the_middle(home, KILLED)
    served = subprocess.run(
        [*home.mlops, *command()], cwd=home.settings.home, env=home.environment(), text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert served.returncode == 0, served.stdout[-3000:] + served.stderr[-3000:]
    assert f"\n{KILLED}:" not in served.stdout, "a day that is over is not lived again"
    fast = home.run(*command("--fast"))
    assert fast.returncode == 0, fast.stdout[-3000:] + fast.stderr[-3000:]

    first, end = moment(FIRST), moment(END)
    place = replay.folder(home.settings, first, POLICY) / replay.DAYS
    quick = pd.DataFrame([json.loads(line) for line in place.read_text().splitlines()])
    own = replay_served.home(home.settings, first, POLICY)
    real = replay_judged.days(home.settings, own, first, end)
    assert differing(real, quick) == {}
    assert quick["released"].sum() >= 2, "a month without a release shows little"
    # Neither told twice nor left open by the kill.
    assert len(client(own).search_model_versions("name = 'mlops-loop'")) == len(set(
        quick.loc[quick["trained"] > 0, "day"]
    )) + 1  # fmt: skip
    log = prediction_log.read(own.predictions)
    assert log["key"].is_unique


def differing(real: pd.DataFrame, quick: pd.DataFrame) -> dict[str, Any]:
    """By column, the days on which the two say different things, and what."""
    found: dict[str, Any] = {}
    for column in DECIDED:
        ours, theirs = (
            frame[column].astype(object).where(frame[column].notna(), None).tolist()
            for frame in (real, quick)
        )
        wrong = [(day, a, b) for day, a, b in zip(real["day"], ours, theirs, strict=True) if a != b]
        found |= {column: wrong} if wrong else {}
    for column in MEASURED:
        gap = (real[column].astype("float64") - quick[column].astype("float64")).abs()
        same = real[column].isna() == quick[column].isna()
        if (gap > 1e-9).any() or not same.all():
            found[column] = real["day"][(gap > 1e-9) | ~same].tolist()
    for day, ours, theirs in zip(real["day"], real["drift"], quick["drift"], strict=True):
        if isinstance(ours, dict) != isinstance(theirs, dict):
            found[f"drift of {day}"] = (ours, theirs)
        elif isinstance(ours, dict):
            apart = {name: (ours[name], theirs[name]) for name in ours
                     if abs(ours[name] - theirs[name]) > 1e-3}  # fmt: skip
            found |= {f"drift of {day}": apart} if apart else {}
    for day, ours, theirs in zip(real["day"], real["verdicts"], quick["verdicts"], strict=True):
        refused = [[each["gate"] for each in side if not each["passed"]] for side in (ours, theirs)]
        if refused[0] != refused[1]:
            found[f"gates of {day}"] = refused
    return found
