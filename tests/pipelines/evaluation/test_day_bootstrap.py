"""The bootstrap over days that the gates on the champion use: seeds, weights and coverage."""

import numpy as np
import pandas as pd
import pytest

from monitoring.measures.scores import day_bootstrap


def days(counts: list[int]) -> pd.Series:
    starts = pd.date_range("2020-01-01", periods=len(counts), tz="UTC")
    return pd.Series(starts.repeat(counts))


def test_bootstrap_repeats_with_its_seed() -> None:
    values, of = np.random.default_rng(0).normal(size=300), days([30] * 10)
    assert day_bootstrap(values, of, seed=3) == day_bootstrap(values, of, seed=3)
    assert day_bootstrap(values, of, seed=3) != day_bootstrap(values, of, seed=4)


def test_bootstrap_of_constant_values_has_no_width() -> None:
    assert day_bootstrap(np.full(60, 2.5), days([10, 20, 30]), seed=0) == (2.5, 2.5)


def test_bootstrap_draws_days_and_not_cases() -> None:
    """Days with equal means leave no doubt about the mean, however cases vary within days."""
    alike = np.tile([-100.0, 0.0, 100.0, 8.0], 12)
    assert day_bootstrap(alike, days([4] * 12), seed=0) == (2.0, 2.0)
    # Equal cases of one day count as one observation, not many.
    by_day = np.repeat(np.random.default_rng(1).normal(size=12), 50)
    low, high = day_bootstrap(by_day, days([50] * 12), seed=0)
    single = day_bootstrap(by_day, days([1] * 600), seed=0)
    assert high - low > 4 * (single[1] - single[0])
    assert low < by_day.mean() < high


def test_bootstrap_weights_cases_and_not_days() -> None:
    """Of two days with 1 and 99 cases, half of the draws have both: mean 0.01, never 0.5."""
    values = np.array([1.0] + [0.0] * 99)
    interval = day_bootstrap(values, days([1, 99]), seed=0, level=0.4)
    assert interval == pytest.approx((0.01, 0.01))


def test_bootstrap_has_its_nominal_coverage() -> None:
    rng, of = np.random.default_rng(5), days([5] * 40)
    covered = []
    for trial in range(200):
        values = np.repeat(rng.normal(size=40), 5) + rng.normal(size=200)
        low, high = day_bootstrap(values, of, seed=trial, draws=200)
        covered.append(low <= 0 <= high)
    assert 0.8 < np.mean(covered) < 0.97
