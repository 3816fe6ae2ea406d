"""The data of a replay's whole period: batches, features, and cases with their labels.

They are built once, by the stages of a training, in a home and a process of their own. No setting
and no store of the project is touched.
"""

import os
import shutil
import subprocess
import sys
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features import durable_files
from features.validated_cases import read_labels
from pipelines.replay.simulated_day import ReplayWorld
from pipelines.replay.trained_models import ReplayModels
from pipelines.runtime import stage_command
from settings import LoopError, Settings
from usecase.model import baseline

BASELINE_REFRESH = timedelta(days=7)  # interval at which the no-model baseline gets new labels


def build_world(settings: Settings, first: datetime, end: datetime) -> ReplayWorld:
    """Build the world of a replay from `first` to `end`. Raises `LoopError` if that fails."""
    home = prepare_world_home(settings)
    frame = pd.read_parquet(home.data / "training" / "training.parquet")
    params = settings.params()
    models = ReplayModels(frame, params, settings.var / "replay" / "models")
    labels = read_labels(home.data, date.min, date.max)
    return ReplayWorld(frame, labels, baseline_scores(frame, first, end), params, models, first)


def baseline_scores(frame: pd.DataFrame, first: datetime, end: datetime) -> np.ndarray:
    """Return the no-model score of each case, from all labels known before its week."""
    scores = np.full(len(frame), np.nan)
    decided = frame["decision_time"]
    for start in pd.date_range(first, end, freq=BASELINE_REFRESH, inclusive="left"):
        rows = np.flatnonzero((decided >= start) & (decided < start + BASELINE_REFRESH))
        if len(rows):
            scores[rows] = baseline(frame[frame["known_at"] < start], frame.iloc[rows])
    return scores


def prepare_world_home(settings: Settings) -> Settings:
    """Build or update the world's home, with output on this terminal; return its settings."""
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
        raise LoopError(f"The replay's data in {home} could not be built. See the output above.")
    return Settings(home=home, workspace=None, tracking_uri=None)


def make_training_set(settings: Settings, until: datetime) -> None:
    """Run all stages up to the training set, unless nothing has changed since the last run."""
    from features import build_manifest

    params = settings.params()
    lag = timedelta(seconds=params["features"]["publish_lag_seconds"])
    note = settings.data / "training" / "RECIPE"
    recipe = f"{build_manifest.build_recipe(lag)} {until.isoformat()}"
    if note.exists() and note.read_text() == recipe:
        return
    from pipelines.ingestion import ingest, validate
    from pipelines.training import assemble, build_features

    steps: tuple[Any, ...] = (
        ingest.fetch_due_batches, validate.validate_new_batches,
        build_features.build_feature_tables, assemble.assemble_training_set,
    )  # fmt: skip
    for step in steps:
        print(f"  data: {step.__module__.split('.')[-1]}", flush=True)
        step(settings, until)
    durable_files.write_file(note, recipe)


if __name__ == "__main__":
    stage_command.run_stage_command(
        lambda settings, _: make_training_set(
            settings, stage_command.parse_time(settings.params()["replay"]["until"], "replay.until")
        )
    )
