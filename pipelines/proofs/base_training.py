"""The training that all proofs start from: real, on the shipped months, built once and stored.

Every bad candidate uses its cases and its champion, and the functions of a real training.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from features import durable_files, partitions
from pipelines.evaluation import evaluate
from pipelines.evaluation.gates.refit_gates import RefitModel
from pipelines.evaluation.gates.source_gates import RECORDED_FOLDERS, TrainingSources, folder_md5
from pipelines.evaluation.gates.verdict import GateInputs
from pipelines.replay.replay_world import build_home, home_environment
from pipelines.runtime import stage_command
from pipelines.training import assemble, workspace
from pipelines.training.train import probabilities
from pipelines.training.training_files import TrainingFiles
from settings import Settings


@dataclass(frozen=True)
class BaseTraining:
    """A home with its data up to `as_of`; candidates are evaluated on the cases since `start`.

    The champion is fitted on what was known the length of the holdout before `start`.
    """

    settings: Settings
    frame: pd.DataFrame
    as_of: datetime
    start: datetime
    seed: int

    @cached_property
    def params(self) -> dict[str, Any]:
        return self.settings.params()

    @cached_property
    def scratch(self) -> Path:
        """Folder for the files of this process's cases."""
        folder = self.settings.state / "cases" / str(os.getpid())
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @cached_property
    def known(self) -> pd.DataFrame:
        return self.frame[self.frame["known_at"] < self.start].reset_index(drop=True)

    @cached_property
    def holdout(self) -> pd.DataFrame:
        return self.frame[self.frame["decision_time"] >= self.start].reset_index(drop=True)

    @cached_property
    def champion(self) -> Any:
        earlier = self.start - (self.as_of - self.start)
        return self.fit(self.known[self.known["known_at"] < earlier])

    @cached_property
    def healthy(self) -> Any:
        return self.fit(self.known)

    @cached_property
    def refit(self) -> Any:
        """The healthy candidate refitted on all known cases, as it would be served."""
        return self.fit(self.frame)

    def fit(self, rows: pd.DataFrame, **settings: Any) -> Any:
        """Fit the last candidate on `rows`, with settings drawn by the seed."""
        from sklearn.model_selection import ParameterSampler

        use_case = self.settings.use_case
        *_, (model, space) = use_case.candidates(self.params).values()
        [drawn] = ParameterSampler(space, 1, random_state=self.seed)
        return model.set_params(**drawn | settings).fit(rows[use_case.features], rows["label"])

    def gate_inputs(
        self, model: Any, rows: pd.DataFrame | None = None, scores: np.ndarray | None = None
    ) -> GateInputs:
        """Return the inputs of the candidate gates; `rows` and `scores` replace the holdout's."""
        use_case = self.settings.use_case
        rows = self.holdout if rows is None else rows
        return evaluate.gate_inputs(
            use_case, model, rows, probabilities(model, rows) if scores is None else scores,
            use_case.baseline(self.known, rows), probabilities(self.champion, rows),
            assemble.training_manifest(self.frame, self.as_of, self.start),
            self.params | {"seed": self.seed},
        )  # fmt: skip

    def refit_model(self, refit: Any, name: str) -> RefitModel:
        """Return the refit in its served form, as a registration does."""
        from serving.models.evaluator import export_model

        folder, running = self.scratch / name, self.scratch / f"champion-{self.seed}"
        if not running.exists():
            export_model(self.champion, running)
        return RefitModel(
            use_case=self.settings.use_case, model=refit, folder=folder,
            digest=export_model(refit, folder), frame=self.holdout,
            evaluated=probabilities(self.healthy, self.holdout), seed=self.seed, running=running,
        )  # fmt: skip

    def training_sources(self, **changes: Any) -> TrainingSources:
        """Return the inputs of the source gates, as a registration does."""
        return replace(
            TrainingSources(
                settings=self.settings, path=self.settings.home, seed=self.seed,
                md5s=json.loads((self.settings.home / "md5s.json").read_text()),
            ),
            **changes,
        )  # fmt: skip


Subject = GateInputs | RefitModel | TrainingSources  # what gates judge


class GateCase(NamedTuple):
    """`gate` must refuse what `build` yields. A healthy case has no gate and must pass all."""

    name: str
    gate: str | None
    build: Callable[[BaseTraining], Iterator[Subject]]


def open_base_training(settings: Settings) -> BaseTraining:
    """Return the training of this code and these parameters, built below `prove/` if missing."""
    params = settings.params()
    as_of = stage_command.parse_time(params["as_of"])
    home = settings.state / "prove" / workspace.training_id(settings, as_of)
    if not (home / "md5s.json").exists():
        shutil.rmtree(home.parent, ignore_errors=True)
        _build(settings, home, as_of)
    return read_base_training(home)


@cache
def read_base_training(home: Path) -> BaseTraining:
    """Return the base training in `home`."""
    [params] = (home / "usecases").glob("*/params.yaml")
    own = Settings.isolated(home, usecase=params.parent.name)
    files = TrainingFiles(home, own.use_case)
    as_of, start = (
        stage_command.parse_time(files.manifest[name]) for name in ("as_of", "holdout_start")
    )
    return BaseTraining(own, files.frame, as_of, start, own.params()["seed"])


def copy_home(source: Settings, folder: Path) -> Settings:
    """Return a home with the data of `source` and an online store of its own."""
    own = Settings.isolated(folder, usecase=source.usecase)
    shutil.copytree(source.home / "data", own.home / "data", copy_function=link_or_copy_file)
    shutil.copytree(source.home / "usecases", own.home / "usecases")
    return own


def link_or_copy_file(source: str, target: str) -> None:
    """Link a partition, which is replaced and never written to; copy other files."""
    is_partition = source.endswith(partitions.SUFFIX)
    (durable_files.link_or_copy if is_partition else shutil.copy)(source, target)


def _build(settings: Settings, home: Path, as_of: datetime) -> None:
    from features.online_publisher import publish_features

    own = build_home(settings, home, as_of)
    with home_environment(own):
        publish_features(own, as_of)
    durable_files.write_file(own.data / "candidates" / "candidates.json", "{}")
    durable_files.write_json(home / "md5s.json", recorded_md5s(own))


def recorded_md5s(own: Settings) -> dict[str, str]:
    """Return the md5s of the training in a home, by path, as a push records them."""
    folders = [own.data / name for name in RECORDED_FOLDERS]
    return {each.relative_to(own.root).as_posix(): folder_md5(each) for each in folders}
