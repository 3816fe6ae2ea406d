"""The models of a replay: trained as a training trains them, once for all policies."""

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
from pipelines.evaluation.gates import candidate_gates, refit_gates, verdict
from pipelines.training import assemble
from pipelines.training.train import fit_candidate
from serving.models import evaluator, skops_file
from usecase import evaluation
from usecase.columns import CATEGORIES, FEATURES
from usecase.model import baseline, build_candidates

REPEATABLE_GATES = [each for each in refit_gates.REFIT_GATES if each is not refit_gates.fast_enough]


@dataclass(frozen=True)
class TrainedModel:
    """What a training gave; `scores` are the refit's on all cases from `as_of` on, else NaN."""

    name: str
    as_of: datetime
    holdout: np.ndarray  # row numbers in the world's frame
    judged: np.ndarray  # the evaluated model's scores on them
    scores: np.ndarray  # shape (n_cases,)
    expected: dict[str, float]
    verdicts: list[dict[str, Any]]  # of the winner; of the cheapest where no candidate passed
    served: Path | None = None  # the folder of the refit's served form
    digest: str = ""  # of its files: by it cases are given to arms

    @property
    def passed(self) -> bool:
        return all(each["passed"] for each in self.verdicts)


@dataclass(frozen=True)
class TrainingSplit:
    """What a training sees: all known cases, and their two parts."""

    place: Path  # where its fits are kept
    frame: pd.DataFrame
    known: pd.DataFrame
    holdout: pd.DataFrame
    manifest: dict[str, Any]


class ReplayModels:
    """Trains on `frame` (all cases, in the order of decision times); keeps fits in `folder`.

    Search, gates, choice, refit and the gates on the artefact are a training's own. Not asked are
    its speed, which is the wall clock's, and its sources (`gates/sources.py`), which are stores.
    """

    def __init__(self, frame: pd.DataFrame, params: dict[str, Any], folder: Path) -> None:
        self._frame, self._params, self._folder = frame, params, folder
        self._recipe = hashlib.sha256(
            json.dumps([params["training"], params["seed"], params["costs"]], default=str).encode()
            + str((len(frame), frame["known_at"].max())).encode()
        ).hexdigest()[:8]

    def train(self, as_of: datetime, champion: TrainedModel | None) -> TrainedModel:
        """The training as of `as_of`, through the gates."""
        split = self._split(as_of, champion)
        rows = np.flatnonzero(
            (self._frame["decision_time"] >= self._holdout_start(as_of, champion))
            & (self._frame["known_at"] < as_of)
        )
        candidates = build_candidates(self._params)
        found = {
            name: self._fitted(split, name, *asked) for name, asked in candidates.items()
        }  # fmt: skip
        judged = {
            name: model.predict_proba(split.holdout[FEATURES])[:, 1]
            for name, model in found.items()
        }
        measured = {
            name: evaluation.metrics(split.holdout["label"], p, self._params["costs"])
            for name, p in judged.items()
        }
        rival = None if champion is None else champion.scores[rows]
        known_rates = baseline(split.known, split.holdout)
        verdicts = {
            name: self._verdicts(split, found[name], judged[name], known_rates, rival)
            for name in found
        }
        winner = evaluate.choose_winner(verdicts, measured)
        best = winner or min(measured, key=lambda name: measured[name]["cost_per_1000"])
        trained = TrainedModel(
            f"{as_of:%Y-%m-%d}", as_of, rows, judged[best],
            np.full(len(self._frame), np.nan), measured[best], verdicts[best],
        )  # fmt: skip
        if winner is None:
            return trained
        return self._refitted(split, trained, winner, found[winner], champion)

    def _split(self, as_of: datetime, champion: TrainedModel | None) -> TrainingSplit:
        start = self._holdout_start(as_of, champion)
        frame = self._frame[self._frame["known_at"] < as_of]
        manifest = assemble.training_manifest(frame, as_of, start)
        place = self._folder / f"{as_of:%Y%m%dT%H}-{start:%Y%m%dT%H%M}-{self._recipe}"
        return TrainingSplit(place, frame, *assemble.split_holdout(frame, manifest), manifest)

    def _holdout_start(self, as_of: datetime, champion: TrainedModel | None) -> datetime:
        """As a workspace sets it: what the champion has not seen, halved."""
        if champion is None:
            return as_of - timedelta(days=self._params["training"]["holdout_days"])
        return champion.as_of + (as_of - champion.as_of) / 2

    def _fitted(self, split: TrainingSplit, name: str, model: Any, space: dict[str, Any]) -> Any:
        path = split.place / f"{name}.skops"
        if not path.exists():
            durable_files.write_file(
                path,
                skops_file.dump_skops(fit_candidate(model, space, split.known, self._params)[0]),
            )
        return skops_file.load_skops(path.read_bytes())

    def _verdicts(
        self, split: TrainingSplit, model: Any, judged: np.ndarray, known_rates: np.ndarray,
        rival: np.ndarray | None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        subject = candidate_gates.GateInputs(
            frame=split.holdout, candidate=judged, baseline=known_rates, champion=rival,
            predict=lambda asked: model.predict_proba(asked[FEATURES])[:, 1],
            slices=evaluation.slices(split.holdout), manifest=split.manifest,
            costs=self._params["costs"], seed=self._params["seed"], columns=FEATURES,
        )  # fmt: skip
        found = verdict.run_gates(subject, self._params["gates"], candidate_gates.CANDIDATE_GATES)
        return [each.as_dict() for each in found]

    def _refitted(
        self,
        split: TrainingSplit,
        trained: TrainedModel,
        winner: str,
        fitted: Any,
        champion: TrainedModel | None,
    ) -> TrainedModel:
        """With the scores of the winner's refit on all that is known, if its own gates pass it."""
        path, served = split.place / f"{winner}-refit.skops", split.place / f"{winner}-served"
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
            frame=split.holdout, evaluated=trained.judged, columns=FEATURES, texts=CATEGORIES,
            seed=self._params["seed"], running=None if champion is None else champion.served,
        )  # fmt: skip
        found = [each.as_dict() for each in verdict.run_gates(subject, limits, REPEATABLE_GATES)]
        verdicts = [*trained.verdicts, *found]
        if not all(each["passed"] for each in found):
            return replace(trained, verdicts=verdicts)
        later = (self._frame["decision_time"] >= trained.as_of).to_numpy()
        trained.scores[later] = self._scores(split.place / f"{winner}-scores.bin", subject, later)
        return replace(trained, verdicts=verdicts, served=served, digest=digest)

    def _scores(self, path: Path, refit: refit_gates.RefitModel, later: np.ndarray) -> np.ndarray:
        if not path.exists():
            scores = refit.evaluator.predict_frame(self._frame.loc[later, FEATURES])
            durable_files.write_file(path, np.asarray(scores).astype("float64").tobytes())
        return np.frombuffer(path.read_bytes(), dtype="float64")
