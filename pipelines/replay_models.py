"""The models of a replay: fitted as a training fits them, once for all policies that share one."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from pipelines import evaluate, gate, verdict
from pipelines.train import fit
from usecase import evaluation
from usecase.columns import FEATURES
from usecase.model import baseline, build_candidates


@dataclass(frozen=True)
class Trained:
    """What a training gave; `scores` are the refit's on all cases from `as_of` on, else NaN."""

    name: str
    as_of: datetime
    holdout: np.ndarray  # row numbers in the world's frame
    judged: np.ndarray  # the evaluated model's scores on them
    scores: np.ndarray  # shape (n_cases,)
    expected: dict[str, float]
    verdicts: list[dict[str, Any]]

    @property
    def passed(self) -> bool:
        return all(each["passed"] for each in self.verdicts)


class Models:
    """Trains on `frame` (all cases, in the order of decision times); keeps fits in `folder`.

    The first training chooses candidate and parameters by the search; those after it refit that
    choice, which a whole training would search for again.
    """

    def __init__(self, frame: pd.DataFrame, params: dict[str, Any], folder: Path) -> None:
        self._frame, self._params, self._folder = frame, params, folder
        self._recipe = hashlib.sha256(
            json.dumps([params["training"], params["seed"], params["costs"]], default=str).encode()
            + str((len(frame), frame["known_at"].max())).encode()
        ).hexdigest()[:8]

    def train(self, as_of: datetime, first: datetime, champion: Trained | None) -> Trained:
        """The training as of `as_of`, through the gates; `first` is when the replay began."""
        frame, known_at = self._frame, self._frame["known_at"]
        start = self._holdout_start(as_of, champion)
        known = frame[known_at < start]
        rows = np.flatnonzero((frame["decision_time"] >= start) & (known_at < as_of))
        holdout = frame.iloc[rows].reset_index(drop=True)
        chosen = self._chosen(first)
        name = f"{as_of:%Y%m%dT%H}-{start:%Y%m%dT%H}-{first:%Y%m%d}-{self._recipe}"
        parts = {"evaluated": known, "refit": frame[known_at < as_of]}
        with ThreadPoolExecutor(2) as pool:  # fits leave the interpreter's lock
            fits = {
                part: pool.submit(self._fitted, f"{name}-{part}", chosen, rows_of)
                for part, rows_of in parts.items()
            }
        evaluated, refit = fits["evaluated"].result(), fits["refit"].result()
        judged = evaluated.predict_proba(holdout[FEATURES])[:, 1]
        scores = np.full(len(frame), np.nan)
        later = (frame["decision_time"] >= as_of).to_numpy()
        scores[later] = self._scores(name, refit, later)
        subject = gate.Evidence(
            frame=holdout, candidate=judged, baseline=baseline(known, holdout),
            champion=None if champion is None else champion.scores[rows],
            predict=lambda asked: evaluated.predict_proba(asked[FEATURES])[:, 1],
            slices=evaluation.slices(holdout), manifest={
                "as_of": as_of, "n_train": len(known), "n_holdout": len(holdout),
                "newest_label": known_at[known_at < as_of].max(),
            }, costs=self._params["costs"], seed=self._params["seed"], columns=FEATURES,
        )  # fmt: skip
        found = verdict.judge(subject, self._params["gates"], gate.GATES)
        return Trained(
            f"{as_of:%Y-%m-%d}", as_of, rows, judged, scores,
            evaluation.metrics(holdout["label"], judged, self._params["costs"]),
            [each.as_dict() for each in found],
        )  # fmt: skip

    def _holdout_start(self, as_of: datetime, champion: Trained | None) -> datetime:
        """As a workspace sets it: what the champion has not seen, halved."""
        if champion is None:
            return as_of - timedelta(days=self._params["training"]["holdout_days"])
        return champion.as_of + (as_of - champion.as_of) / 2

    def _chosen(self, first: datetime) -> dict[str, Any]:
        """Candidate and parameters, by the search of the first training."""
        path = self._folder / f"chosen-{first:%Y%m%d}-{self._recipe}.json"
        if not path.exists():
            start = self._holdout_start(first, None)
            frame, found, cost = self._frame, {}, {}
            known = frame[frame["known_at"] < start]
            rows = frame[(frame["decision_time"] >= start) & (frame["known_at"] < first)]
            for name, (model, space) in build_candidates(self._params).items():
                fitted, summary = fit(model, space, known, self._params)
                p = fitted.predict_proba(rows[FEATURES])[:, 1]
                cost[name] = evaluation.metrics(rows["label"], p, self._params["costs"])
                found[name] = summary["params"]
            winner = evaluate.choose({name: [] for name in found}, cost)
            _write(path, json.dumps({"name": winner, "params": found[str(winner)]}).encode())
        chosen: dict[str, Any] = json.loads(path.read_text())
        return chosen

    def _fitted(self, name: str, chosen: dict[str, Any], known: pd.DataFrame) -> Any:
        from serving import skops_file

        path = self._folder / f"{name}.skops"
        if not path.exists():
            model, _ = build_candidates(self._params)[chosen["name"]]
            model = clone(model).set_params(**chosen["params"])
            _write(path, skops_file.dump(model.fit(known[FEATURES], known["label"])))
        return skops_file.load(path.read_bytes())

    def _scores(self, name: str, model: Any, later: np.ndarray) -> np.ndarray:
        path = self._folder / f"{name}-scores.bin"
        if not path.exists():
            asked = self._frame.loc[later, FEATURES]
            _write(path, model.predict_proba(asked)[:, 1].astype("float64").tobytes())
        return np.frombuffer(path.read_bytes(), dtype="float64")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    os.replace(draft, path)
