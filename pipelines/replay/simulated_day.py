"""One day of a fast replay: rollout of the challenger, monitoring, decision, training, predictions.

It depends on simulated time and data only: no clock, no service, no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from monitoring.evidence import MonitoringEvidence, MonitoringFinding
from monitoring.measures import arms, drift, performance, slices
from monitoring.retraining_decision import decide_retraining
from pipelines.release import rollout_policy
from pipelines.replay.replay_state import DAY, ReplayState, ReplayWorld, predict_cases
from pipelines.replay.trained_models import TrainedModel
from settings import LoopError
from usecase import evaluation
from usecase.columns import CATEGORIES, FEATURES


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
        log, cases[["key", "label", "known_at"]], world.params["rollout"], world.params["costs"],
        day,
    )  # fmt: skip


def _monitor(
    world: ReplayWorld, state: ReplayState, policy: Mapping[str, Any], day: datetime
) -> dict[str, Any]:
    """Measure and decide; train if that is the decision."""
    evidence, joined = collect_evidence(world, state, day)
    decision = decide_retraining(evidence, policy, day)
    record: dict[str, Any] = {
        "retrain": decision.retrain, "reason": decision.reason, "codes": decision.codes,
        "fired": [each.name for each in decision.triggers if each.fired],
        "gap": None if evidence.live is None else evidence.live["calibration_gap"],
        "bias": None if evidence.live is None else evidence.live["bias"],
        "coverage": performance.label_coverage(joined),
        "drift_share": evidence.drift and evidence.drift["share"],
        "drift": evidence.drift and _multiples_of_limit(evidence.drift),
        "delay_hours": performance.median_label_delay_hours(joined),
    }  # fmt: skip
    if decision.retrain:
        trained = world.models.train(day, state.champion)
        record |= {"trained": 1, "training": trained.name, "verdicts": trained.verdicts}
        state.last_training = day
        if trained.passed:
            state.start_shadow(trained, day)
    return record


def collect_evidence(
    world: ReplayWorld, state: ReplayState, day: datetime
) -> tuple[MonitoringEvidence, pd.DataFrame]:
    """Return what monitoring measures before `day`, and the champion's predictions with labels."""
    params, champion = world.params["monitoring"], state.champion
    at = world.rows(day - params["window_days"] * DAY, day)
    # The champion's predictions during its own canary count, too.
    own = state.answered_by[at] == state.number(champion)
    current = world.frame.iloc[at][own].assign(probability=state.probability[at][own])
    joined = current.assign(label=current["label"].where(current["known_at"] < day))
    problems: list[MonitoringFinding] = []
    live, drift_result = None, None
    if missing := performance.describe_missing_labels(joined, world.params, day):
        problems.append(MonitoringFinding("coverage_low", missing))
    try:
        live = performance.live_metrics(joined, world.params["costs"], world.params["seed"])
    except ValueError as error:
        problems.append(MonitoringFinding("performance_unmeasured", f"performance ({error})"))
    problems += slices.slice_problems(joined)
    reference = world.frame.iloc[champion.holdout].assign(probability=champion.holdout_scores)
    try:
        measured, _ = drift.measure_drift(
            reference, joined, features=FEATURES, categories=CATEGORIES, limits=params["drift"],
            seed=world.params["seed"], with_snapshot=False,
        )  # fmt: skip
        drift_result = asdict(measured)
        problems += drift.drift_problems(measured)
    except LoopError as error:
        problems.append(MonitoringFinding("drift_unmeasured", f"drift ({error})"))
    new_labels = world.frame["known_at"].between(champion.as_of, day, "left")
    return MonitoringEvidence(
        champion=champion.name, data_until=champion.as_of,
        n_labelled=int(joined["label"].notna().sum()), live=live, expected=champion.expected,
        drift=drift_result, problems=problems, last_training=state.last_training,
        n_new=int(new_labels.sum()),
        under_way=None if state.challenger is None else state.challenger.name,
        slices=slices.measure_slices(joined, joined, world.params, day),
        days=performance.days_watched(joined, day),
    ), joined  # fmt: skip


def _multiples_of_limit(drift_result: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: round(each["score"] / each["limit"], 3)
        for name, each in drift_result["features"].items()
    }


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
