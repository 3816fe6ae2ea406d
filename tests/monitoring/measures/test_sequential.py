"""Confidence sequences: error rate under daily looks, power, and width."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring.measures import sequential

SETTINGS: dict[str, Any] = {"spread": 60.0, "alpha": 0.05, "focus": 1.0}
COSTS = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}
DAYS = 120


def stopped_on(values: np.ndarray, margin: float = 0.0) -> int:
    """Return the first look, from 1, whose interval lies above `margin`; 0 if none."""
    for n in range(1, len(values) + 1):
        if sequential.confidence_sequence(values[:n], **SETTINGS).low > margin:
            return n
    return 0


def drawn(rng: np.random.Generator, kind: str, spread: float) -> np.ndarray:
    if kind == "heavy":  # two storms a month, as days of real differences have them
        storm = rng.random(DAYS) < 1 / 15
        values = rng.normal(size=DAYS) * np.where(storm, 3.0, 0.7)
        return spread * values / math.sqrt(9 / 15 + 0.49 * 14 / 15)
    return spread * rng.normal(size=DAYS)


@pytest.mark.parametrize(("kind", "spread"), [("normal", 60.0), ("normal", 30.0), ("heavy", 60.0)])
def test_the_error_rate_of_daily_looks_stays_below_alpha(kind: str, spread: float) -> None:
    rng = np.random.default_rng(7)
    alarms = [stopped_on(drawn(rng, kind, spread)) > 0 for _ in range(250)]
    assert np.mean(alarms) <= SETTINGS["alpha"]


def test_daily_looks_at_a_fixed_time_interval_err_far_more_often() -> None:
    """Show that the test above can fail."""
    rng = np.random.default_rng(7)
    days = np.arange(1, DAYS + 1)
    alarms = [
        bool((np.cumsum(drawn(rng, "normal", 60.0)) / days > 1.645 * 60 / np.sqrt(days)).any())
        for _ in range(250)
    ]
    assert np.mean(alarms) > 4 * SETTINGS["alpha"]


def test_the_power_that_the_documents_claim() -> None:
    rng = np.random.default_rng(7)
    first_looks = [stopped_on(60 * rng.normal(size=14) + 145.0, margin=25.0) for _ in range(250)]
    assert np.mean(np.array(first_looks) > 0) > 0.99
    assert np.median(first_looks) <= 4
    slight = [stopped_on(60 * rng.normal(size=14) + 65.0, margin=25.0) for _ in range(250)]
    assert 0.1 < np.mean(np.array(slight) > 0) < 0.6, "a slight loss takes longer than a fortnight"


def test_a_larger_observed_spread_widens_the_interval() -> None:
    calm = sequential.confidence_sequence([1.0, -1.0, 1.0, -1.0], **SETTINGS)
    wild = sequential.confidence_sequence([300.0, -300.0, 300.0, -300.0], **SETTINGS)
    assert calm.mean == wild.mean == 0
    assert wild.high > 5 * calm.high
    assert calm.high == pytest.approx(60 * math.sqrt(5 / 16 * math.log(5 / 0.0025)))


def test_no_days_give_an_infinite_interval_and_a_missing_day_is_refused() -> None:
    nothing = sequential.confidence_sequence([], **SETTINGS)
    assert (nothing.n, nothing.low, nothing.high) == (0, -math.inf, math.inf)
    with pytest.raises(ValueError, match="no value"):
        sequential.confidence_sequence([1.0, math.nan], **SETTINGS)


def test_days_are_compared_on_the_same_requests_and_days_of_few_labels_are_left_out() -> None:
    at = pd.to_datetime(["2013-04-01T08:00Z"] * 4 + ["2013-04-02T08:00Z"] * 2)
    paired = pd.DataFrame({
        "decision_time": at, "label": [1, 1, 0, 0, 1, 1],
        "probability": [0.9, 0.9, 0.1, 0.1, 0.9, 0.9], "challenger": [0.1, 0.9, 0.9, 0.1, 0.1, 0.1],
    })  # fmt: skip
    days = sequential.daily_paired_difference(paired, COSTS, min_labels=3)
    assert days["n"].to_list() == [4]
    assert days["difference"].to_list() == [1000 * (4 + 1) / 4]


def test_different_arms_are_distinguished_from_equal_ones() -> None:
    rng = np.random.default_rng(3)
    alike = sequential.difference_of_means(
        rng.beta(2, 5, 100), rng.beta(2, 5, 900), alpha=0.01, focus=20.0
    )
    apart = sequential.difference_of_means(
        rng.beta(2, 5, 100) + 0.3, rng.beta(2, 5, 900), alpha=0.01, focus=20.0
    )
    assert alike.low < 0 < alike.high
    assert apart.low > 0.1
    assert (
        sequential.difference_of_means([0.5], [0.1, 0.2], alpha=0.01, focus=20.0).high == math.inf
    )


def test_a_small_effect_needs_more_days_than_a_large_one() -> None:
    def days(effect: float) -> int:
        return next(n for n in range(1, 366) if sequential.half_width(n, **SETTINGS) <= effect)

    assert 1 < days(100.0) < days(25.0) < 365
