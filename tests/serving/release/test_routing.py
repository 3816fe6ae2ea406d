"""Routing: a case always has the same arm, and each arm gets its share of the keys."""

from datetime import UTC, datetime

import numpy as np
import pytest

from serving.release.document import Challenger, Release, ServedModel, assign_arm

NOW = datetime(2013, 4, 1, tzinfo=UTC)
EXPECTED = [False, False, True, False, False, True]  # of a to f at 50 %
KEYS = [f"2013-04-{n % 28 + 1:02d}:{n}" for n in range(20_000)]


def release(percent: float, digit: str = "b", stage: str = "canary") -> Release:
    challenger = Challenger(ServedModel("8", digit * 64, "8", 0.2), stage, percent, NOW)  # type: ignore[arg-type]
    return Release(4, ServedModel("7", "a" * 64, "7", 0.2), NOW, challenger)


def challenged(keys: list[str], to: Release) -> np.ndarray:
    return np.array([assign_arm(key, to) == "challenger" for key in keys])


@pytest.mark.parametrize("percent", [0.5, 10, 50, 99])
def test_each_arm_gets_its_share_and_evenly(percent: float) -> None:
    assigned = challenged(KEYS, release(percent))
    share = percent / 100
    error = (share * (1 - share) / len(KEYS)) ** 0.5
    assert abs(assigned.mean() - share) < 4 * error
    # Each twentieth of the keys has its share, too.
    for part in np.split(assigned, 20):
        assert abs(part.mean() - share) < 5 * error * 20**0.5


def test_the_key_alone_decides_on_every_replica() -> None:
    """The values are from another process, with another seed of Python's own hash."""
    canary = release(50)
    assert [assign_arm(key, canary) == "challenger" for key in "abcdef"] == EXPECTED


def test_a_higher_percentage_keeps_the_keys_that_it_had() -> None:
    few, more = challenged(KEYS, release(10)), challenged(KEYS, release(30))
    assert (more[few]).all()
    assert more.sum() > few.sum()


def test_another_challenger_gets_other_keys() -> None:
    one, other = challenged(KEYS, release(50)), challenged(KEYS, release(50, "c"))
    assert abs((one == other).mean() - 0.5) < 0.02


def test_a_shadow_answers_nobody_and_a_full_canary_everybody() -> None:
    assert not challenged(KEYS[:500], release(0, stage="shadow")).any()
    assert not challenged(KEYS[:500], Release(1, ServedModel("7", "a" * 64, "7", 0.2), NOW)).any()
    assert challenged(KEYS[:500], release(100)).all()
