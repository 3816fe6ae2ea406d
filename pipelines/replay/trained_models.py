"""The models of a replay: each training runs once for all policies, with a training's own steps."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from features import durable_files
from pipelines.evaluation import evaluate
from pipelines.evaluation.gates import refit_gates, verdict
from pipelines.training import assemble
from pipelines.training.train import fit_candidate
from serving.models import evaluator, skops_file
from usecase.columns import CATEGORIES, FEATURES
from usecase.model import baseline, build_candidates

REPEATABLE_GATES = [each for each in refit_gates.REFIT_GATES if each is not refit_gates.fast_enough]


@dataclass(frozen=True)
class TrainedModel:
    """Result of a training; `scores` are the refit's on all cases from `as_of` on, NaN before."""

    name: str
    as_of: datetime
    holdout: np.ndarray  # row numbers in the world's frame
    holdout_scores: np.ndarray  # of the evaluated model
    scores: np.ndarray  # shape (n_cases,)
    expected: dict[str, float]
    verdicts: list[dict[str, Any]]  # of the winner, or of the cheapest if no candidate passed
    served: Path | None = None  # folder of the refit's served form
    digest: str = ""  # of its files; routing assigns cases to arms by it

    @property
    def passed(self) -> bool:
        return all(each["passed"] for each in self.verdicts)


@dataclass(frozen=True)
class TrainingSplit:
    """The cases that a training knows, and their two parts."""

    folder: Path  # of its fitted models
    frame: pd.DataFrame  # all known cases
    known: pd.DataFrame  # known before the holdout
    holdout: pd.DataFrame
    manifest: dict[str, Any]


class ReplayModels:
    """Train on `frame` (all cases by decision time); store the fitted models in `folder`.

    Search, gates, choice, refit and the refit's gates are those of a training. Two checks are left
    out: the refit's speed, which depends on the machine, and the source gates, which need stores.
    """

    def __init__(self, frame: pd.DataFrame, params: dict[str, Any], folder: Path) -> None:
        self._frame, self._params, self._folder = frame, params, folder
        self._recipe = hashlib.sha256(
            json.dumps([params["training"], params["seed"], params["costs"]], default=str).encode()
            + str((len(frame), frame["known_at"].max())).encode()
        ).hexdigest()[:8]

    def train(self, as_of: datetime, champion: TrainedModel | None) -> TrainedModel:
        """Train as of `as_of` and run the gates."""
        split = self._split(as_of, champion)
        rows = np.flatnonzero(
            (self._frame["decision_time"] >= self._holdout_start(as_of, champion))
            & (self._frame["known_at"] < as_of)
        )
        models = {
            name: self._fit(split, name, model, space)
            for name, (model, space) in build_candidates(self._params).items()
        }
        scores = pd.DataFrame({"baseline": baseline(split.known, split.holdout)})
        for name, model in models.items():
            scores[name] = model.predict_proba(split.holdout[FEATURES])[:, 1]
        if champion is not None:
            scores["champion"] = champion.scores[rows]
        metrics, verdicts = evaluate.judge_candidates(
            models, split.holdout, scores, split.manifest, self._params
        )
        winner = evaluate.choose_winner(verdicts, metrics)
        best = winner or min(models, key=lambda name: metrics[name]["cost_per_1000"])
        trained = TrainedModel(
            f"{as_of:%Y-%m-%d}", as_of, rows, scores[best].to_numpy(),
            np.full(len(self._frame), np.nan), metrics[best], verdicts[best],
        )  # fmt: skip
        if winner is None:
            return trained
        return self._refit(split, trained, winner, models[winner], champion)

    def _split(self, as_of: datetime, champion: TrainedModel | None) -> TrainingSplit:
        start = self._holdout_start(as_of, champion)
        frame = self._frame[self._frame["known_at"] < as_of]
        manifest = assemble.training_manifest(frame, as_of, start)
        folder = self._folder / f"{as_of:%Y%m%dT%H}-{start:%Y%m%dT%H%M}-{self._recipe}"
        return TrainingSplit(folder, frame, *assemble.split_holdout(frame, manifest), manifest)

    def _holdout_start(self, as_of: datetime, champion: TrainedModel | None) -> datetime:
        """Return the start of the later half of the champion's unseen period, like a workspace."""
        if champion is None:
            return as_of - timedelta(days=self._params["training"]["holdout_days"])
        return champion.as_of + (as_of - champion.as_of) / 2

    def _fit(self, split: TrainingSplit, name: str, model: Any, space: dict[str, Any]) -> Any:
        path = split.folder / f"{name}.skops"
        if not path.exists():
            durable_files.write_file(
                path,
                skops_file.dump_skops(fit_candidate(model, space, split.known, self._params)[0]),
            )
        return skops_file.load_skops(path.read_bytes())

    def _refit(
        self,
        split: TrainingSplit,
        trained: TrainedModel,
        winner: str,
        fitted: Any,
        champion: TrainedModel | None,
    ) -> TrainedModel:
        """Refit the winner on all known cases; add its scores if it passes its own gates."""
        path, served = split.folder / f"{winner}-refit.skops", split.folder / f"{winner}-served"
        if not path.exists():
            model = clone(fitted).fit(split.frame[FEATURES], split.frame["label"])
            shutil.rmtree(served, ignore_errors=True)
            digest = evaluator.export_model(model, served)
            durable_files.write_file(served.with_suffix(".digest"), digest.encode())
            durable_files.write_file(path, skops_file.dump_skops(model))
        digest = served.with_suffix(".digest").read_text()
        limits = {**self._params["gates"], **self._params["gates"]["artefact"]}
        subject = refit_gates.RefitModel(
            model=skops_file.load_skops(path.read_bytes()), folder=served, digest=digest,
            frame=split.holdout, evaluated=trained.holdout_scores, columns=FEATURES,
            texts=CATEGORIES, seed=self._params["seed"],
            running=None if champion is None else champion.served,
        )  # fmt: skip
        refit_verdicts = [
            each.as_dict() for each in verdict.run_gates(subject, limits, REPEATABLE_GATES)
        ]
        verdicts = [*trained.verdicts, *refit_verdicts]
        if not all(each["passed"] for each in refit_verdicts):
            return replace(trained, verdicts=verdicts)
        later = (self._frame["decision_time"] >= trained.as_of).to_numpy()
        trained.scores[later] = self._scores(split.folder / f"{winner}-scores.bin", subject, later)
        return replace(trained, verdicts=verdicts, served=served, digest=digest)

    def _scores(self, path: Path, refit: refit_gates.RefitModel, later: np.ndarray) -> np.ndarray:
        if not path.exists():
            scores = refit.evaluator.predict_frame(self._frame.loc[later, FEATURES])
            durable_files.write_file(path, np.asarray(scores).astype("float64").tobytes())
        return np.frombuffer(path.read_bytes(), dtype="float64")
