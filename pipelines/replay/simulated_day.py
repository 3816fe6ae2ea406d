"""One day of a fast replay: rollout of the challenger, monitoring, decision, training, predictions.

It depends on simulated time and data only: no clock, no service, no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from monitoring import observation
from monitoring.measures import arms, performance
from pipelines.release import rollout_policy
from pipelines.replay import served_record
from pipelines.replay.replay_state import DAY, ReplayState, ReplayWorld, predict_cases
from pipelines.replay.trained_models import TrainedModel
from settings import LoopError
from usecase import evaluation
from usecase.columns import FEATURES


def simulate_day(
    world: ReplayWorld, state: ReplayState, policy: Mapping[str, Any], day: datetime
) -> dict[str, Any]:
    """Simulate the day that begins at `day`: change `state` and return the day's record."""
    record: dict[str, Any] = {
        "day": day.date().isoformat(), "trained": 0, "released": 0, "withdrawn": 0,
        "rollout": "", "verdicts": [], "training": None,
    }  # fmt: skip
    if state.challenger is not None:
        record |= _roll_out(world, state, day)
    if day > world.first:  # nothing was predicted before the first day
        record |= _monitor(world, state, policy, day)
    record |= _predict_day(world, state, day)
    record |= {
        "champion": state.champion.name,
        "challenger": None if state.challenger is None else state.challenger.name,
        "stage": None if state.challenger is None else state.stage,
    }
    return record


def _roll_out(world: ReplayWorld, state: ReplayState, day: datetime) -> dict[str, Any]:
    """Take the challenger's next step."""
    challenger, entered = state.challenger, state.entered
    if challenger is None or entered is None:
        raise LoopError("There is no challenger to roll out.")
    evidence = _arm_evidence(world, state, challenger, entered, day)
    current = rollout_policy.ChallengerState(challenger.name, state.stage, entered)
    decision = rollout_policy.next_rollout_step(
        current, evidence, world.params["rollout"], day, live=False
    )
    record: dict[str, Any] = {"rollout": f"{decision.action}: {decision.why}"}
    if decision.action == "advance":
        state.stage, state.entered = "canary", day
    elif decision.action == "promote":
        state.promote_challenger()
        record["released"] = 1
    elif decision.action == "withdraw":
        state.challenger = None
        record["withdrawn"] = 1
    return record


def _arm_evidence(
    world: ReplayWorld,
    state: ReplayState,
    challenger: TrainedModel,
    entered: datetime,
    day: datetime,
) -> arms.ArmEvidence:
    at = world.rows(entered, day)
    cases = world.frame.iloc[at]
    log = pd.DataFrame({
        "key": cases["key"].to_numpy(), "decision_time": cases["decision_time"].to_numpy(),
        "logged_at": cases["decision_time"].to_numpy(), "probability": state.probability[at],
        "scoring_ms": 0.0, "shadow_ms": 0.0, "shadow_error": None, "challenger_error": None,
        "shadow_probability": challenger.scores[at],
        "arm": np.where(
            state.answered_by[at] == state.number(challenger), "challenger", "champion"
        ),
    })  # fmt: skip
    for name in ("decision_time", "logged_at"):
        log[name] = pd.to_datetime(log[name], utc=True)
    if state.stage == "canary":
        return arms.canary_evidence(log, world.params["rollout"], day)
    return arms.shadow_evidence(
        log, world.labels_since(entered), world.params["rollout"], world.params["costs"], day,
    )  # fmt: skip


def _monitor(
    world: ReplayWorld, state: ReplayState, policy: Mapping[str, Any], day: datetime
) -> dict[str, Any]:
    """Observe and decide; train if that is the decision."""
    result = observe_day(world, state, policy, day)
    record = served_record.monitoring_fields(result)
    if result["retrain"]:
        trained = world.models.train(day, state.champion)
        record |= {"trained": 1, "training": trained.name, "verdicts": trained.verdicts}
        state.last_training = day
        if trained.passed:
            state.start_shadow(trained, day)
    return record


def observe_day(
    world: ReplayWorld, state: ReplayState, policy: Mapping[str, Any], day: datetime
) -> dict[str, Any]:
    """Return the result of monitoring at the start of `day`."""
    champion, since = state.champion, day - world.params["monitoring"]["window_days"] * DAY
    at = world.rows(since, day)
    # The champion's predictions during its own canary count, too.
    own = state.answered_by[at] == state.number(champion)
    cases = world.frame.iloc[at][own].drop(columns=["label", "known_at"])
    log = cases.assign(probability=state.probability[at][own], logged_at=cases["decision_time"])
    joined = performance.join_labels(log, world.labels_since(since), day)
    window = observation.ProductionWindow(
        champion=champion.name, data_until=champion.as_of, expected=champion.expected,
        reference=champion.reference, predictions=joined, features=joined[FEATURES],
        last_training=state.last_training,
        n_new=performance.count_new_labels(world.labels, champion.as_of, day),
        under_way=None if state.challenger is None else state.challenger.name,
    )  # fmt: skip
    return observation.observe_production(window, world.params, policy, day)


def _predict_day(world: ReplayWorld, state: ReplayState, day: datetime) -> dict[str, Any]:
    """Predict the cases of the day; return their number and costs."""
    at = world.rows(day, day + DAY)
    predict_cases(world, state, at)
    labels = world.frame["label"].to_numpy()[at]
    costs = world.params["costs"]
    return {
        "n": len(labels),
        "cost": float(evaluation.case_costs(labels, state.probability[at], costs).sum()),
        "baseline_cost": float(evaluation.case_costs(labels, world.baseline[at], costs).sum()),
    }
