"""One simulated day: the challenger's next step, monitoring, the decision, and the day's cases.

Depends on simulated time and data alone: no clock, no service, no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from monitoring import retraining_decision
from monitoring.measures import arms, performance, slices
from monitoring.measures import drift as drifts
from monitoring.retraining_triggers import MonitoringEvidence, MonitoringFinding
from pipelines.release import rollout_policy
from pipelines.replay.trained_models import ReplayModels, TrainedModel
from serving.release import routing
from serving.release.document import Stage
from settings import LoopError
from usecase import evaluation
from usecase.columns import CATEGORIES, FEATURES

DAY = timedelta(days=1)


@dataclass
class ReplayWorld:
    """All cases with features, label, `known_at`, in the order of decision times; and baseline."""

    frame: pd.DataFrame
    baseline: np.ndarray
    params: dict[str, Any]
    models: ReplayModels
    first: datetime

    def rows(self, start: datetime, end: datetime) -> slice:
        at = self.frame["decision_time"].searchsorted([pd.Timestamp(start), pd.Timestamp(end)])
        return slice(int(at[0]), int(at[1]))


@dataclass
class ReplayState:
    """Who serves, who is on the way, and what was answered so far."""

    champion: TrainedModel
    last_training: datetime
    probability: np.ndarray  # NaN where nobody has been asked yet
    answered_by: np.ndarray  # number of the training that answered
    challenger: TrainedModel | None = None
    stage: Stage = "shadow"
    entered: datetime | None = None  # its stage
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, trained: TrainedModel) -> int:
        return self.numbers.setdefault(trained.name, len(self.numbers))


def simulate_day(
    world: ReplayWorld, state: ReplayState, policy: Mapping[str, Any], day: datetime
) -> dict[str, Any]:
    """Lives the day that begins at `day`; changes `state` and returns the day's record."""
    record: dict[str, Any] = {
        "day": day.date().isoformat(), "trained": 0, "released": 0, "withdrawn": 0,
        "rollout": "", "verdicts": [], "training": None,
    }  # fmt: skip
    if state.challenger is not None:
        _roll_out(world, state, day, record)
    if day > world.first:  # before that nothing was answered
        _watch(world, state, policy, day, record)
    _answer(world, state, day, record)
    record |= {
        "champion": state.champion.name,
        "challenger": None if state.challenger is None else state.challenger.name,
        "stage": None if state.challenger is None else state.stage,
    }
    return record


def _roll_out(
    world: ReplayWorld, state: ReplayState, day: datetime, record: dict[str, Any]
) -> None:
    challenger, entered = state.challenger, state.entered
    if challenger is None or entered is None:
        raise LoopError("There is no challenger to look at.")
    limits = world.params["rollout"]
    evidence = _arms(world, state, challenger, entered, day)
    now = rollout_policy.ChallengerState(challenger.name, state.stage, entered)
    decision = rollout_policy.next_rollout_step(now, evidence, limits, day, live=False)
    record["rollout"] = f"{decision.action}: {decision.why}"
    if decision.action == "advance":
        state.stage, state.entered = "canary", day
    elif decision.action == "promote":
        promote_challenger(state)
        record["released"] = 1
    elif decision.action == "withdraw":
        state.challenger = None
        record["withdrawn"] = 1


def promote_challenger(state: ReplayState) -> None:
    """The challenger is champion from now on."""
    if state.challenger is None:
        raise LoopError("There is no challenger to promote.")
    state.champion, state.challenger = state.challenger, None


def _arms(
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


def _watch(
    world: ReplayWorld,
    state: ReplayState,
    policy: Mapping[str, Any],
    day: datetime,
    record: dict[str, Any],
) -> None:
    """Measures, decides, and trains if that is the decision."""
    evidence, drift, joined = collect_evidence(world, state, day)
    decision = retraining_decision.decide_retraining(evidence, policy, day)
    record |= {
        "retrain": decision.retrain, "reason": decision.reason, "codes": decision.codes,
        "fired": [each.name for each in decision.triggers if each.fired],
        "gap": None if evidence.live is None else evidence.live["calibration_gap"],
        "bias": None if evidence.live is None else evidence.live["bias"],
        "coverage": performance.label_coverage(joined), "drift_share": drift and drift["share"],
        "drift": drift and _multiples(drift),
        "delay_hours": performance.median_label_delay_hours(joined),
    }  # fmt: skip
    if not decision.retrain:
        return
    found = world.models.train(day, state.champion)
    record |= {"trained": 1, "training": found.name, "verdicts": found.verdicts}
    state.last_training = day
    if found.passed:
        state.challenger, state.stage, state.entered = found, "shadow", day
        state.number(found)


def collect_evidence(
    world: ReplayWorld, state: ReplayState, day: datetime
) -> tuple[MonitoringEvidence, dict[str, Any] | None, pd.DataFrame]:
    """What monitoring finds in the window before `day`: the champion's own answers."""
    params = world.params["monitoring"]
    # A champion's answers in its own canary are its own, too.
    at = world.rows(day - params["window_days"] * DAY, day)
    own = state.answered_by[at] == state.number(state.champion)
    current = world.frame.iloc[at][own].assign(probability=state.probability[at][own])
    joined = current.assign(label=current["label"].where(current["known_at"] < day))
    problems: list[MonitoringFinding] = []
    live, drift = None, None
    if missing := performance.describe_missing_labels(joined, world.params, day):
        problems.append(MonitoringFinding("coverage_low", missing))
    try:
        live = performance.live_metrics(joined, world.params["costs"], world.params["seed"])
    except ValueError as error:
        problems.append(MonitoringFinding("performance_unmeasured", f"performance ({error})"))
    problems += slices.slice_problems(joined)
    reference = world.frame.iloc[state.champion.holdout].assign(probability=state.champion.judged)
    try:
        found, _ = drifts.measure_drift(
            reference, joined, features=FEATURES, categories=CATEGORIES, limits=params["drift"],
            seed=world.params["seed"], with_snapshot=False,
        )  # fmt: skip
        drift = asdict(found)
        problems += drifts.drift_problems(found)
    except LoopError as error:
        problems.append(MonitoringFinding("drift_unmeasured", f"drift ({error})"))
    n_labelled = int(joined["label"].notna().sum())
    new = world.frame["known_at"].between(state.champion.as_of, day, "left")
    return MonitoringEvidence(
        champion=state.champion.name, data_until=state.champion.as_of, n_labelled=n_labelled,
        live=live, expected=state.champion.expected, drift=drift, problems=problems,
        last_training=state.last_training, n_new=int(new.sum()),
        under_way=None if state.challenger is None else state.challenger.name,
        slices=slices.measure_slices(joined, joined, world.params, day),
        days=performance.days_watched(joined, day),
    ), drift, joined  # fmt: skip


def _multiples(drift: dict[str, Any]) -> dict[str, float]:
    """How far each feature has moved, as a multiple of its limit."""
    return {
        name: round(each["score"] / each["limit"], 3) for name, each in drift["features"].items()
    }


def _answer(world: ReplayWorld, state: ReplayState, day: datetime, record: dict[str, Any]) -> None:
    """The cases of the day, each scored by whoever it is routed to; and what they cost."""
    at = world.rows(day, day + DAY)
    answer_cases(world, state, at)
    truth = world.frame["label"].to_numpy()[at]
    costs = world.params["costs"]
    record |= {
        "n": len(truth),
        "cost": float(evaluation.case_costs(truth, state.probability[at], costs).sum()),
        "baseline_cost": float(evaluation.case_costs(truth, world.baseline[at], costs).sum()),
    }


def answer_cases(world: ReplayWorld, state: ReplayState, at: slice) -> None:
    """Fills in who answers the cases `at`, and with what."""
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
