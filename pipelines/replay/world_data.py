"""Everything that a replay may come to see, made once: batches, features, cases with their labels.

Made by the same stages as a training, in a home of its own and in a process of its own, so that no
setting and no store of the project is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features import durable_files
from pipelines.replay.simulated_day import ReplayWorld
from pipelines.replay.trained_models import ReplayModels
from pipelines.runtime import stage_command
from settings import LoopError, Settings
from usecase.model import baseline

BASELINE_REFRESH = timedelta(days=7)  # the no-model baseline learns new labels


def build_world(settings: Settings, first: datetime, end: datetime) -> ReplayWorld:
    """The world of a replay from `first` to `end`. Raises `LoopError` if it can't be made."""
    home = prepare_world_home(settings)
    frame = pd.read_parquet(home.data / "training" / "training.parquet")
    params = settings.params()
    models = ReplayModels(frame, params, settings.var / "replay" / "models")
    return ReplayWorld(frame, baseline_scores(frame, first, end), params, models, first)


def baseline_scores(frame: pd.DataFrame, first: datetime, end: datetime) -> np.ndarray:
    """The no-model answer to each case of the replay, with all labels of the week before."""
    found = np.full(len(frame), np.nan)
    decided = frame["decision_time"]
    start = first
    while start < end:
        rows = np.flatnonzero((decided >= start) & (decided < start + BASELINE_REFRESH))
        if len(rows):
            found[rows] = baseline(frame[frame["known_at"] < start], frame.iloc[rows])
        start += BASELINE_REFRESH
    return found


def prepare_world_home(settings: Settings) -> Settings:
    """The settings of the world's home; makes or renews what is in it, told on this terminal."""
    home = settings.var / "replay" / "world"
    target = home / "usecase" / "params.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(settings.params_file, target)
    names = {name: value for name, value in os.environ.items() if not name.startswith("MLOPS_")}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.replay.world_data"], check=False,
        env={**names, "MLOPS_HOME": str(home)},
    )  # fmt: skip
    if done.returncode:
        raise LoopError(f"The replay's world in {home} could not be made: see above.")
    return Settings(home=home, workspace=None, tracking_uri=None)


def make_training_set(settings: Settings, until: datetime) -> None:
    """All stages up to the training set, unless nothing has changed since they were run."""
    from features import build_manifest

    params = settings.params()
    lag = timedelta(seconds=params["features"]["publish_lag_seconds"])
    note = settings.data / "training" / "RECIPE"
    recipe = f"{build_manifest.build_recipe(settings.data, lag)} {until.isoformat()}"
    if note.exists() and note.read_text() == recipe:
        return
    from pipelines.ingestion import ingest, validate
    from pipelines.training import assemble, build_features

    steps: tuple[Any, ...] = (
        ingest.fetch_due_batches,
        validate.validate_new_batches,
        build_features.build_feature_tables,
        assemble.assemble_training_set,
    )
    for step in steps:
        print(f"the replay's world: {step.__module__.split('.')[-1]}", flush=True)
        step(settings, until)
    durable_files.write_file(
        note, f"{build_manifest.build_recipe(settings.data, lag)} {until.isoformat()}"
    )


if __name__ == "__main__":
    stage_command.run_stage_command(
        lambda settings, _: make_training_set(
            settings, stage_command.parse_time(settings.params()["replay"]["until"], "replay.until")
        )
    )
