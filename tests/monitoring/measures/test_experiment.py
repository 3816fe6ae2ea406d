"""Experiments: power, error rate, no verdict before the planned end."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from monitoring.measures import experiment
from monitoring.measures.sequential import Interval

COSTS = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}
START = datetime(2013, 4, 15, tzinfo=UTC)
PLAN = experiment.ExperimentPlan(
    version="3", metric="cost", percent=50.0, effect=60.0, days=14, alpha=0.05, min_labels=50,
    spread=45.0, days_needed=5, planned_at=START.isoformat(),
)  # fmt: skip


def rows(days: int, rate: float, *, seed: int = 0, n: int = 400) -> pd.DataFrame:
    """Cases of `days` days; the challenger misses the share `rate` of them, the champion 10%.

    A day's storm hits both arms.
    """
    rng = np.random.default_rng(seed)
    day, i = np.repeat(np.arange(days), n), np.tile(np.arange(n), days)
    frame = pd.DataFrame({
        "decision_time": pd.Timestamp(START) + pd.to_timedelta(1440 * day + 2 * i, unit="min"),
        "key": pd.Series(day).astype(str) + "-" + pd.Series(i).astype(str),
        "arm": rng.choice(["champion", "challenger"], days * n),
        "probability": 0.1,
    })  # fmt: skip
    storm = np.repeat(rng.normal(0, 0.01, days), n)
    missed = np.where(frame["arm"] == "challenger", rate, 0.1) + storm
    return frame.assign(label=(rng.random(len(frame)) < missed).astype("float64"))


def analyse(
    frame: pd.DataFrame, days: float, plan: experiment.ExperimentPlan = PLAN
) -> experiment.ExperimentResult:
    as_of = START + timedelta(days=days, hours=12)
    return experiment.analyse_experiment(frame, plan, COSTS, as_of, label_hours=12)


@pytest.mark.parametrize(
    ("rate", "effect", "verdict"),
    [(0.16, 60.0, "worse"), (0.04, 60.0, "better"), (0.1, 120.0, "no_difference"),
     (0.1, 5.0, "undecided")],
)  # fmt: skip
def test_the_verdict_at_the_end_is_the_planned_one(
    rate: float, effect: float, verdict: str
) -> None:
    result = analyse(rows(14, rate), 14, replace(PLAN, effect=effect))
    assert result.verdict == verdict
    assert result.interval.n == result.days == 14
    assert sum(result.labels) == 14 * 400


def test_an_early_look_has_no_verdict_and_a_wider_interval() -> None:
    frame = rows(14, 0.16)
    early, end = analyse(frame, 13.9), analyse(frame, 14)
    assert early.verdict == "early"
    assert "too early: 13 of 14 planned days" in early.told
    width = early.interval.high - early.interval.low
    assert width > 1.3 * (end.interval.high - end.interval.low)
    nothing = analyse(frame[:0], 3)
    assert (nothing.verdict, nothing.interval.n) == ("early", 0)


def test_cases_after_the_planned_end_do_not_count() -> None:
    frame = rows(20, 0.1)
    later = frame["decision_time"] >= START + timedelta(days=14)
    frame.loc[later & (frame["arm"] == "challenger"), "label"] = 1.0
    assert analyse(frame, 20) == analyse(frame[~later], 14)


def test_labels_that_are_not_due_yet_do_not_count() -> None:
    frame = rows(2, 0.1)
    assert analyse(frame, 1.9).interval.n == 1
    without = frame.assign(label=frame["label"].where(frame["decision_time"].dt.day == 15))
    assert analyse(without, 2).interval.n == 1


def test_the_error_rate_and_the_power_are_those_of_the_plan() -> None:
    alike = [analyse(rows(14, 0.1, seed=seed, n=150), 14).verdict for seed in range(60)]
    false_verdicts = sum(verdict in {"better", "worse"} for verdict in alike)
    assert false_verdicts <= 8, "5% of 60 are 3, and 8 are beyond three standard deviations"
    frame = rows(14, 0.1)
    spread = experiment.same_model_spread(frame, "cost", 50.0, COSTS, min_labels=50)
    # Each arm has 200 cases a day, with a cost of 4 for one in ten.
    assert spread == pytest.approx(1000 * math.sqrt(2 * 16 * 0.09 / 200), rel=0.25)
    needed = experiment.days_for_power(60.0, spread, 0.05)
    verdicts = [
        analyse(rows(needed, 0.115, seed=seed), needed, replace(PLAN, days=needed)).verdict
        for seed in range(30)
    ]
    assert verdicts.count("worse") >= 18, f"{needed} days suffice about three times in four"


def test_a_short_log_is_refused_and_a_small_effect_needs_more_days() -> None:
    with pytest.raises(ValueError, match="1 days of the log"):
        experiment.same_model_spread(rows(1, 0.1), "cost", 50.0, COSTS, min_labels=50)
    assert experiment.days_for_power(25.0, 100.0, 0.05) > experiment.days_for_power(
        100.0, 100.0, 0.05
    )
    assert experiment.student_interval(np.array([1.0]), 0.05).high == math.inf
    assert experiment.experiment_verdict(Interval(3, 0.0, -math.inf, math.inf), 10.0) == "undecided"
