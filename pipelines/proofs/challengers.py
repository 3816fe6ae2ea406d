"""Which challengers must be stopped, by what, and within how much? Bad ones, and a healthy one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.release.document import Stage

REQUESTS_BETWEEN_LOOKS = (
    50  # requests between two looks, on the first day of a stage; then at each day's end
)
ScoreCase = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class ChallengerCase:
    """A challenger, where it begins to be bad, and by what and within what it must be stopped."""

    name: str
    what: str
    begins: Stage
    says: ScoreCase
    cause: str  # of its withdrawal; empty: it must become champion
    requests: float = math.inf  # that may reach it until then
    days: float = math.inf
    labelled: bool = True  # whether labels come in at all


def healthy_score(row: dict[str, Any]) -> float:
    return float(np.clip(row["score"] + row["noise"], 0, 1))


def failing_score(row: dict[str, Any]) -> float:
    if row["number"] % 10 == 0:
        raise RuntimeError("one case in ten is more than it can take")
    return healthy_score(row)


def slow_score(row: dict[str, Any]) -> float:
    time.sleep(0.008)
    return healthy_score(row)


def nan_score(row: dict[str, Any]) -> float:
    return math.nan


def shifted_score(row: dict[str, Any]) -> float:
    return float(np.clip(row["score"] + 0.3, 0, 1))


def shuffled_score(row: dict[str, Any]) -> float:
    return float(row["another"])


def inverted_score(row: dict[str, Any]) -> float:
    return float(np.clip(2 * row["mean"] - row["score"], 0, 1))


def challenger_cases(policy: dict[str, Any]) -> list[ChallengerCase]:
    """Bad challengers, at least one for each cause in each stage, and a healthy one."""
    few, shadow, canary = (
        2 * REQUESTS_BETWEEN_LOOKS,
        policy["shadow"]["max_days"],
        policy["canary"]["max_days"],
    )
    # Of the keys a canary has few: it is looked at every EVERY requests to either arm.
    return [
        ChallengerCase(
            "healthy",
            "scores beside the champion's, as refits have them",
            "shadow",
            healthy_score,
            "",
            days=policy["shadow"]["days"] + policy["canary"]["days"] + 2,
        ),
        ChallengerCase(
            "errors", "raises on one case in ten", "shadow", failing_score, "errors", few
        ),
        ChallengerCase("no numbers", "answers NaN", "shadow", nan_score, "errors", few),
        ChallengerCase("slow", "takes 8 ms longer", "shadow", slow_score, "slow", few),
        ChallengerCase("shifted scores", "0.3 too high", "shadow", shifted_score, "scores", few),
        ChallengerCase(
            "worse on labels",
            "scores of other cases",
            "shadow",
            shuffled_score,
            "cost",
            days=shadow,
        ),
        ChallengerCase(
            "far worse on labels", "scores upside down", "shadow", inverted_score, "cost", days=4
        ),
        ChallengerCase(
            "no labels",
            "healthy, but no label comes in",
            "shadow",
            healthy_score,
            "time",
            days=shadow + 1,
            labelled=False,
        ),
        ChallengerCase(
            "errors, in the canary",
            "raises on one case in ten",
            "canary",
            failing_score,
            "errors",
            few,
        ),
        ChallengerCase(
            "slow, in the canary", "takes 8 ms longer", "canary", slow_score, "slow", few
        ),
        ChallengerCase(
            "shifted, in the canary",
            "0.3 too high",
            "canary",
            shifted_score,
            "scores",
            few,
            days=canary,
        ),
    ]
