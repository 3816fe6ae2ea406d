"""On what are gates proven? A real training of the shipped months, made once and kept in a folder.

Every bad candidate starts from it: the same cases, the same champion, fitted, evaluated, refitted
and published by the functions of a real training.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import durable_files
from pipelines.evaluation.gates.inputs import GateInputs
from pipelines.evaluation.gates.refit_gates import RefitModel
from pipelines.evaluation.gates.source_gates import RECORDED_FOLDERS, TrainingSources, folder_md5
from pipelines.runtime import stage_command
from pipelines.training import assemble, workspace
from settings import Settings
from usecase.columns import CATEGORIES, FEATURES


@dataclass(frozen=True)
class BaseTraining:
    """A home with its data up to `as_of`; candidates are judged on the cases since `start`.

    The champion was fitted on what was known `holdout` earlier than the candidates.
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
        """Where the cases of this process leave their files."""
        folder = self.settings.var / "cases" / str(os.getpid())
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
        """The healthy candidate fitted on all that is known, as it would be served."""
        return self.fit(self.frame)

    def fit(self, rows: pd.DataFrame, columns: list[str] = FEATURES, **given: Any) -> Any:
        """The candidate fitted on `rows`, with the draw of its search that the seed gives."""
        from sklearn.model_selection import ParameterSampler

        from usecase.faults import CANDIDATE
        from usecase.model import build_candidates

        model, space = build_candidates(self.params)[CANDIDATE]
        [drawn] = ParameterSampler(space, 1, random_state=self.seed)
        return model.set_params(**drawn | given).fit(rows[columns], rows["label"])

    def evidence(
        self, model: Any, rows: pd.DataFrame | None = None, scores: np.ndarray | None = None
    ) -> GateInputs:
        """What the evaluation gives the gates; `rows` and `scores` in place of the holdout's."""
        from usecase import evaluation
        from usecase.model import baseline

        rows = self.holdout if rows is None else rows

        def asked(frame: pd.DataFrame) -> np.ndarray:
            return np.asarray(model.predict_proba(frame[FEATURES])[:, 1])

        return GateInputs(
            frame=rows,
            candidate=asked(rows) if scores is None else scores,
            baseline=baseline(self.known, rows),
            champion=self.champion.predict_proba(rows[FEATURES])[:, 1],
            predict=asked,
            slices=evaluation.slices(rows),
            costs=self.params["costs"],
            seed=self.seed,
            manifest=assemble.training_manifest(self.frame, self.as_of, self.start),
            columns=FEATURES,
        )

    def artefact(self, refit: Any, name: str, evaluated: Any = None) -> RefitModel:
        """The refit in its served form, as a registration has it."""
        from serving.models import evaluator

        folder = self.scratch / name
        evaluated = self.healthy if evaluated is None else evaluated
        return RefitModel(
            model=refit, folder=folder, digest=evaluator.export_model(refit, folder),
            frame=self.holdout, evaluated=evaluated.predict_proba(self.holdout[FEATURES])[:, 1],
            columns=FEATURES, texts=CATEGORIES, seed=self.seed, running=self.running,
        )  # fmt: skip

    @cached_property
    def running(self) -> Path:
        """The served form of the champion."""
        from serving.models import evaluator

        evaluator.export_model(self.champion, self.scratch / "champion")
        return self.scratch / "champion"

    def sources(self, **changes: Any) -> TrainingSources:
        """What the training was made from, as a registration has it."""
        return replace(
            TrainingSources(
                settings=self.settings, path=self.settings.home, seed=self.seed, columns=FEATURES,
                frame=self.frame, as_of=self.as_of, holdout_start=self.start,
                md5s=json.loads((self.settings.home / "md5s.json").read_text()),
            ),
            **changes,
        )  # fmt: skip

    def reseeded(self, seed: int) -> BaseTraining:
        """The same data with other draws of everything."""
        return BaseTraining(self.settings, self.frame, self.as_of, self.start, seed)


def open_base_training(settings: Settings) -> BaseTraining:
    """The ground below `var/prove`, made if this code and these parameters have none yet."""
    params = settings.params()
    as_of = stage_command.parse_time(params["as_of"])
    home = settings.var / "prove" / workspace.training_id(settings, as_of)
    if not (home / "md5s.json").exists():
        shutil.rmtree(home.parent, ignore_errors=True)
        _build(settings, home, as_of)
    return read_base_training(home)


def read_base_training(home: Path) -> BaseTraining:
    """The ground that was made in `home`."""
    own = isolated_settings(home)
    frame, manifest = assemble.load_training_set(own)
    as_of, start = (stage_command.parse_time(manifest[name]) for name in ("as_of", "holdout_start"))
    return BaseTraining(own, frame, as_of, start, own.params()["seed"])


def isolated_settings(folder: Path) -> Settings:
    """Settings of a home that shares nothing with any other, whatever the environment says."""
    return Settings(
        home=folder, workspace=None, tracking_uri=None, feast_registry=None, redis=None,
        dvc_remote=None,
    )  # fmt: skip


@contextmanager
def home_environment(settings: Settings) -> Iterator[None]:
    """The environment and the folder of this home, until the block ends."""
    before, folder = dict(os.environ), Path.cwd()
    os.environ.update(settings.environment())
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


def _build(settings: Settings, home: Path, as_of: datetime) -> None:
    from features.online_publisher import publish_features
    from pipelines.ingestion import ingest, validate
    from pipelines.training import build_features

    own = isolated_settings(home)
    own.params_file.parent.mkdir(parents=True)
    shutil.copyfile(settings.params_file, own.params_file)
    with home_environment(own):
        for step in (
            ingest.fetch_due_batches,
            validate.validate_new_batches,
            build_features.build_feature_tables,
            assemble.assemble_training_set,
        ):
            print(f"  {step.__name__.replace('_', ' ')}", flush=True)
            step(own, as_of)
        publish_features(own, as_of)
    (home / "data" / "candidates").mkdir()
    durable_files.write_file(home / "data" / "candidates" / "candidates.json", "{}")
    md5s = {name: folder_md5(home / name) for name in RECORDED_FOLDERS}
    durable_files.write_json(home / "md5s.json", md5s)
