"""The world of a replay: all cases of its period, their labels, and the models trained on them.

The data are built once, by the stages of a training in a home of their own: no setting and no store
of the project is touched. Each training runs once for all policies, by the functions of a training.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contract import UseCase
from features import build_manifest, durable_files, partitions
from features.validated_cases import read_labels
from pipelines.evaluation import evaluate
from pipelines.evaluation.gates import refit_gates
from pipelines.registry import refit, register
from pipelines.runtime import stage_command
from pipelines.training import assemble, train
from pipelines.training.training_files import TrainingFiles
from serving.models.evaluator import Evaluator
from settings import Settings

BASELINE_REFRESH = timedelta(days=7)  # interval at which the no-model baseline gets new labels
REPEATABLE_GATES = [each for each in refit_gates.REFIT_GATES if each is not refit_gates.fast_enough]


@dataclass
class ReplayWorld:
    """All cases by decision time, with features, label and `known_at`; the baseline's scores.

    `labels` holds every label as it became known; `frame` has the newest of each case. `models` is
    the folder of the fitted models.
    """

    use_case: UseCase
    frame: pd.DataFrame
    labels: pd.DataFrame
    baseline: np.ndarray
    params: dict[str, Any]
    models: Path
    first: datetime

    def rows(self, start: datetime, end: datetime) -> slice:
        """Return the row numbers of the cases decided from `start` until before `end`."""
        at = self.frame["decision_time"].searchsorted([pd.Timestamp(start), pd.Timestamp(end)])
        return slice(int(at[0]), int(at[1]))

    def labels_since(self, start: datetime) -> pd.DataFrame:
        """Return the labels of the batches from the day of `start` on."""
        return self.labels[self.labels["known_at"] >= pd.Timestamp(start).floor("D")]


@dataclass(frozen=True)
class TrainedModel:
    """Result of a training; `scores` are the refit's on all cases from `as_of` on, NaN before."""

    name: str
    as_of: datetime
    reference: pd.DataFrame  # of drift: the holdout with the evaluated model's probabilities
    expected: dict[str, float]
    verdicts: list[dict[str, Any]]  # of the winner, or of the cheapest if no candidate passed
    scores: np.ndarray  # shape (n_cases,)
    served: Path | None = None  # folder of the refit's served form
    digest: str = ""  # of its files; routing assigns cases to arms by it

    @property
    def passed(self) -> bool:
        return all(each["passed"] for each in self.verdicts)


def build_world(settings: Settings, first: datetime, end: datetime) -> ReplayWorld:
    """Build the world of a replay from `first` to `end`, with output on this terminal."""
    params, folder = settings.params(), settings.state / "replay"
    until = stage_command.parse_time(params["replay"]["until"], "replay.until")
    home = build_home(settings, folder / "world", until)
    use_case = settings.use_case
    frame = TrainingFiles(home.root, use_case).frame
    labels = read_labels(home, date.min, date.max)
    scores = baseline_scores(use_case, frame, first, end)
    return ReplayWorld(use_case, frame, labels, scores, params, folder / "models", first)


def baseline_scores(
    use_case: UseCase, frame: pd.DataFrame, first: datetime, end: datetime
) -> np.ndarray:
    """Return the no-model score of each case, from all labels known before its week."""
    scores = np.full(len(frame), np.nan)
    decided = frame["decision_time"]
    for start in pd.date_range(first, end, freq=BASELINE_REFRESH, inclusive="left"):
        rows = np.flatnonzero((decided >= start) & (decided < start + BASELINE_REFRESH))
        if len(rows):
            scores[rows] = use_case.baseline(frame[frame["known_at"] < start], frame.iloc[rows])
    return scores


def train_model(world: ReplayWorld, as_of: datetime, champion: TrainedModel | None) -> TrainedModel:
    """Train as of `as_of` and run the gates.

    Two checks of a training are left out: the refit's speed, which depends on the machine, and the
    source gates, which need stores.
    """
    params, frame = world.params, world.frame[world.frame["known_at"] < as_of]
    data_until, running = (champion.as_of, champion.served) if champion else (None, None)
    start = assemble.holdout_start(params, as_of, world.use_case.horizon, data_until)
    manifest = assemble.training_manifest(frame, as_of, start)
    known, holdout = assemble.split_holdout(frame, manifest)
    path = _training_folder(world, as_of, start)
    files = TrainingFiles(path, world.use_case)
    stored = files.data / "candidates"
    if not (stored / "candidates.json").exists():
        train.fit_candidates(world.use_case, known, holdout, params, stored)
    scores = files.scores
    if champion is not None:
        rows = (world.frame["known_at"] < as_of) & (world.frame["decision_time"] >= start)
        scores["champion"] = champion.scores[rows.to_numpy()]
    models = {name: files.model(name) for name in files.candidates}
    metrics, verdicts = evaluate.judge_candidates(
        world.use_case, models, holdout, scores, manifest, params
    )
    best = evaluate.best_candidate(verdicts, metrics)
    judged, served, digest = verdicts[best], None, ""
    later = np.full(len(world.frame), np.nan)
    if evaluate.choose_winner(verdicts, metrics) is not None:
        made = path / f"refit-{best}"
        digest, served = refit.refit_model(models[best], frame, made), made / "served"
        judged = judged + refit.refit_verdicts(
            world.use_case, made, holdout, scores[best].to_numpy(), params, running,
            REPEATABLE_GATES,
        )  # fmt: skip
        if all(each["passed"] for each in judged):
            rows = world.frame["decision_time"] >= as_of
            later[rows] = _scores(path / f"scores-{best}.bin", world.frame[rows], served, digest)
    return TrainedModel(
        f"{as_of:%Y-%m-%d}", as_of, register.reference_cases(holdout, scores[best]),
        metrics[best], judged, later, served, digest,
    )  # fmt: skip


def _training_folder(world: ReplayWorld, as_of: datetime, start: datetime) -> Path:
    relevant = [world.params[name] for name in ("training", "seed", "costs")]
    extent = str((len(world.frame), world.frame["known_at"].max()))
    recipe = partitions.recipe_digest(json.dumps(relevant, default=str), extent)[:8]
    return world.models / f"{as_of:%Y%m%dT%H}-{start:%Y%m%dT%H%M}-{recipe}"


def _scores(path: Path, frame: pd.DataFrame, served: Path, digest: str) -> np.ndarray:
    if not path.exists():
        scores = Evaluator.load(served, digest).predict_frame(frame)
        durable_files.write_file(path, np.asarray(scores).astype("float64").tobytes())
    return np.frombuffer(path.read_bytes(), dtype="float64")


def build_home(settings: Settings, home: Path, until: datetime) -> Settings:
    """Build or update a home with a training set as of `until`; return its settings.

    Nothing is done if nothing has changed since the last run.
    """
    own, params = settings.isolated(home, usecase=settings.usecase), settings.params()
    durable_files.write_file(own.params_file, settings.params_file.read_bytes())
    lag = timedelta(seconds=params["features"]["publish_lag_seconds"])
    note = own.data / "training" / "RECIPE"
    recipe = f"{build_manifest.build_recipe(own.use_case, lag)} {until.isoformat()}"
    if note.exists() and note.read_text() == recipe:
        return own
    from pipelines.ingestion import ingest, validate
    from pipelines.training import build_features

    steps: tuple[Any, ...] = (
        ingest.fetch_due_batches, validate.validate_new_batches,
        build_features.build_feature_tables, assemble.assemble_training_set,
    )  # fmt: skip
    with home_environment(own):
        for step in steps:
            print(f"  data: {step.__module__.split('.')[-1]}", flush=True)
            step(own, until)
    durable_files.write_file(note, recipe)
    return own


@contextmanager
def home_environment(settings: Settings) -> Iterator[None]:
    """Set the environment of this home; restore environment and folder at the end."""
    before, folder = dict(os.environ), Path.cwd()
    os.environ.update(settings.environment())
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)
