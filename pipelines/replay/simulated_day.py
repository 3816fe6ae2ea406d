"""One day of a fast replay: rollout of the challenger, monitoring, decision, training, predictions.

It depends on simulated time and data only: no clock, no service, no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from monitoring import observation
from monitoring.measures import arms, performance, scores
from monitoring.retraining_triggers import MonitoringEvidence
from pipelines.release import rollout_policy
from pipelines.replay import served_record
from pipelines.replay.replay_world import ReplayWorld, TrainedModel, train_model
from pipelines.replay.served_record import DAY
from serving.release import document
from serving.release.document import Stage
from settings import LoopError


@dataclass
class ReplayState:
    """Champion, challenger and all predictions so far."""

    champion: TrainedModel
    last_training: datetime
    probability: np.ndarray  # NaN: not predicted yet
    answered_by: np.ndarray  # name of the model that predicted
    challenger: TrainedModel | None = None
    stage: Stage = "shadow"  # of the challenger
    entered: datetime | None = None  # start of the stage

    @classmethod
    def start(cls, world: ReplayWorld, champion: TrainedModel) -> ReplayState:
        """Return the state of a champion that has not predicted yet."""
        n_cases = len(world.frame)
        nobody = np.full(n_cases, None, dtype=object)
        return cls(champion, champion.as_of, np.full(n_cases, np.nan), nobody)

    def take_step(self, action: str, day: datetime) -> None:
        """Apply a step of the rollout policy, or nothing if the challenger stays.

        Raises `LoopError` if there is no challenger to promote.
        """
        if action == "advance":
            self.stage, self.entered = "canary", day
        elif action == "promote":
            if self.challenger is None:
                raise LoopError("There is no challenger to promote.")
            self.champion, self.challenger = self.challenger, None
        elif action == "withdraw":
            self.challenger = None

    def train(self, world: ReplayWorld, day: datetime) -> TrainedModel:
        """Train as of `day`; a model that passes the gates becomes challenger."""
        model = train_model(world, day, self.champion)
        self.last_training = day
        if model.passed:
            self.challenger, self.stage, self.entered = model, "shadow", day
        return model


def predict_cases(world: ReplayWorld, state: ReplayState, at: slice) -> None:
    """Fill in the predictions of the cases `at`, by the model that each is routed to."""
    state.probability[at] = state.champion.scores[at]
    state.answered_by[at] = state.champion.name
    if state.challenger is not None and state.stage == "canary":
        percent, digest = world.params["rollout"]["canary"]["percent"], state.challenger.digest
        keys = world.frame["key"].to_numpy()[at]
        chosen = [document.goes_to_challenger(key, digest, percent) for key in keys]
        routed = np.flatnonzero(chosen) + at.start
        state.probability[routed] = state.challenger.scores[routed]
        state.answered_by[routed] = state.challenger.name


def simulate_day(
    world: ReplayWorld, state: ReplayState, policy: Mapping[str, Any], day: datetime
) -> dict[str, Any]:
    """Simulate the day that begins at `day`: change `state` and return the day's record."""
    record: dict[str, Any] = {
        "day": day.date().isoformat(), "trained": 0, "released": 0, "withdrawn": 0,
        "rollout": "", "verdicts": [], "training": None,
    }  # fmt: skip
    if state.challenger is not None and state.entered is not None:
        record |= _roll_out(world, state, state.challenger, state.entered, day)
    if day > world.first:  # nothing was predicted before the first day
        result = observe_day(world, state, policy, day)
        record |= served_record.monitoring_fields(result)
        if result["retrain"]:
            trained = state.train(world, day)
            record |= {"trained": 1, "training": trained.name, "verdicts": trained.verdicts}
    at = world.rows(day, day + DAY)
    predict_cases(world, state, at)
    labels, costs = world.frame["label"].to_numpy()[at], world.params["costs"]
    return record | {
        "n": len(labels),
        "cost": float(scores.case_costs(labels, state.probability[at], costs).sum()),
        "baseline_cost": float(scores.case_costs(labels, world.baseline[at], costs).sum()),
        "champion": state.champion.name,
        "challenger": None if state.challenger is None else state.challenger.name,
        "stage": None if state.challenger is None else state.stage,
    }


def _roll_out(
    world: ReplayWorld, state: ReplayState, challenger: TrainedModel, entered: datetime,
    day: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Take the challenger's next step; return the record's fields."""
    params, at = world.params, world.rows(entered, day)
    log = world.frame.iloc[at][["key", "decision_time"]].assign(
        logged_at=world.frame["decision_time"].iloc[at], probability=state.probability[at],
        scoring_ms=0.0, shadow_ms=0.0, shadow_error=None, challenger_error=None,
        shadow_probability=challenger.scores[at],
        arm=np.where(state.answered_by[at] == challenger.name, "challenger", "champion"),
    )  # fmt: skip
    if state.stage == "canary":
        evidence = arms.canary_evidence(log, params["rollout"], day)
    else:
        labels = world.labels_since(entered)
        evidence = arms.shadow_evidence(
            log, labels, params["rollout"], params["costs"], day, horizon=world.use_case.horizon
        )
    decision = rollout_policy.next_rollout_step(
        state.stage, entered, evidence, params["rollout"], day, live=False
    )
    state.take_step(decision.action, day)
    return {
        "rollout": f"{decision.action}: {decision.why}",
        "released": int(decision.action == "promote"),
        "withdrawn": int(decision.action == "withdraw"),
    }


def observe_day(
    world: ReplayWorld, state: ReplayState, policy: Mapping[str, Any], day: datetime
) -> dict[str, Any]:
    """Return the result of monitoring at the start of `day`."""
    champion, since = state.champion, day - world.params["monitoring"]["window_days"] * DAY
    at = world.rows(since, day)
    # The champion's predictions during its own canary count, too.
    own = state.answered_by[at] == champion.name
    cases = world.frame.iloc[at][own].drop(columns=["label", "known_at"])
    log = cases.assign(probability=state.probability[at][own], logged_at=cases["decision_time"])
    joined = performance.join_labels(
        log, world.labels_since(since), day, horizon=world.use_case.horizon
    )
    known = MonitoringEvidence(
        champion.name, champion.as_of, champion.expected, last_training=state.last_training,
        n_new=performance.count_new_labels(world.labels, champion.as_of, day),
        under_way=None if state.challenger is None else state.challenger.name,
    )  # fmt: skip
    return observation.observe_production(
        world.use_case,
        known,
        joined,
        joined[world.use_case.features],
        champion.reference,
        world.params,
        policy,
        day,
    )
