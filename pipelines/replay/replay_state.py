"""The world of a fast replay, and its state: models in service and the predictions so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from pipelines.replay.trained_models import ReplayModels, TrainedModel
from serving.release import routing
from serving.release.document import Stage
from settings import LoopError

DAY = timedelta(days=1)


@dataclass
class ReplayWorld:
    """All cases by decision time, with features, label and `known_at`; the baseline's scores.

    `labels` holds every label as it became known; `frame` has the newest of each case.
    """

    frame: pd.DataFrame
    labels: pd.DataFrame
    baseline: np.ndarray
    params: dict[str, Any]
    models: ReplayModels
    first: datetime

    def rows(self, start: datetime, end: datetime) -> slice:
        """Return the row numbers of the cases decided from `start` until before `end`."""
        at = self.frame["decision_time"].searchsorted([pd.Timestamp(start), pd.Timestamp(end)])
        return slice(int(at[0]), int(at[1]))

    def labels_since(self, start: datetime) -> pd.DataFrame:
        """Return the labels of the batches from the day of `start` on."""
        return self.labels[self.labels["known_at"] >= pd.Timestamp(start).floor("D")]


@dataclass
class ReplayState:
    """Champion, challenger and all predictions so far."""

    champion: TrainedModel
    last_training: datetime
    probability: np.ndarray  # NaN: not predicted yet
    answered_by: np.ndarray  # number of the model that predicted
    challenger: TrainedModel | None = None
    stage: Stage = "shadow"  # of the challenger
    entered: datetime | None = None  # start of the stage
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, model: TrainedModel) -> int:
        return self.numbers.setdefault(model.name, len(self.numbers))

    def start_shadow(self, model: TrainedModel, day: datetime) -> None:
        self.challenger, self.stage, self.entered = model, "shadow", day
        self.number(model)

    def promote_challenger(self) -> None:
        if self.challenger is None:
            raise LoopError("There is no challenger to promote.")
        self.champion, self.challenger = self.challenger, None


def predict_cases(world: ReplayWorld, state: ReplayState, at: slice) -> None:
    """Fill in the predictions of the cases `at`, by the model that each is routed to."""
    state.probability[at] = state.champion.scores[at]
    state.answered_by[at] = state.number(state.champion)
    if state.challenger is not None and state.stage == "canary":
        percent, digest = world.params["rollout"]["canary"]["percent"], state.challenger.digest
        keys = world.frame["key"].to_numpy()[at]
        routed = (
            np.flatnonzero([routing.goes_to_challenger(key, digest, percent) for key in keys])
            + at.start
        )
        state.probability[routed] = state.challenger.scores[routed]
        state.answered_by[routed] = state.number(state.challenger)
