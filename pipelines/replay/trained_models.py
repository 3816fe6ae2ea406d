"""The models of a replay: each training runs once for all policies, with a training's own steps."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import durable_files, partitions
from pipelines.evaluation import evaluate
from pipelines.evaluation.gates import refit_gates
from pipelines.registry import refit, register
from pipelines.training import assemble, train
from pipelines.training.training_files import TrainingFiles
from serving.models.evaluator import Evaluator
from usecase.columns import FEATURES

REPEATABLE_GATES = [each for each in refit_gates.REFIT_GATES if each is not refit_gates.fast_enough]


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


class ReplayModels:
    """Train on `frame` (all cases by decision time); store the fitted models in `folder`.

    The functions are those of a training. Two checks are left out: the refit's speed, which depends
    on the machine, and the source gates, which need stores.
    """

    def __init__(self, frame: pd.DataFrame, params: dict[str, Any], folder: Path) -> None:
        self._frame, self._params, self._folder = frame, params, folder
        relevant = [params[name] for name in ("training", "seed", "costs")]
        extent = str((len(frame), frame["known_at"].max()))
        self._recipe = partitions.recipe_digest(json.dumps(relevant, default=str), extent)[:8]

    def train(self, as_of: datetime, champion: TrainedModel | None) -> TrainedModel:
        """Train as of `as_of` and run the gates."""
        params, frame = self._params, self._frame[self._frame["known_at"] < as_of]
        data_until, running = (champion.as_of, champion.served) if champion else (None, None)
        start = assemble.holdout_start(params, as_of, data_until)
        manifest = assemble.training_manifest(frame, as_of, start)
        known, holdout = assemble.split_holdout(frame, manifest)
        path = self._folder / f"{as_of:%Y%m%dT%H}-{start:%Y%m%dT%H%M}-{self._recipe}"
        files, stored = TrainingFiles(path), path / "data" / "candidates"
        if not (stored / "candidates.json").exists():
            train.fit_candidates(known, holdout, params, stored)
        scores = files.scores
        if champion is not None:
            rows = (self._frame["known_at"] < as_of) & (self._frame["decision_time"] >= start)
            scores["champion"] = champion.scores[rows.to_numpy()]
        models = {name: files.model(name) for name in files.candidates}
        metrics, verdicts = evaluate.judge_candidates(models, holdout, scores, manifest, params)
        best = evaluate.best_candidate(verdicts, metrics)
        judged, served, digest = verdicts[best], None, ""
        later = np.full(len(self._frame), np.nan)
        if evaluate.choose_winner(verdicts, metrics) is not None:
            made = path / f"refit-{best}"
            digest, served = refit.refit_model(models[best], frame, made), made / "served"
            judged = judged + refit.refit_verdicts(
                made, holdout, scores[best].to_numpy(), params, running, REPEATABLE_GATES,
            )  # fmt: skip
            if all(each["passed"] for each in judged):
                rows = (self._frame["decision_time"] >= as_of).to_numpy()
                later[rows] = self._scores(path / f"scores-{best}.bin", served, digest, rows)
        return TrainedModel(
            f"{as_of:%Y-%m-%d}", as_of, register.reference_cases(holdout, scores[best]),
            metrics[best], judged, later, served, digest,
        )  # fmt: skip

    def _scores(self, path: Path, served: Path, digest: str, rows: np.ndarray) -> np.ndarray:
        if not path.exists():
            scores = Evaluator.load(served, digest).predict_frame(self._frame.loc[rows, FEATURES])
            durable_files.write_file(path, np.asarray(scores).astype("float64").tobytes())
        return np.frombuffer(path.read_bytes(), dtype="float64")
