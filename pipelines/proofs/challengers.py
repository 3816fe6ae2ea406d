"""Challengers of the rollout proofs: bad ones with the guard that must stop them, a healthy one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.release.document import Stage

REQUESTS_BETWEEN_LOOKS = 50  # on the first day of a stage; later there is a look a day
ScoreCase = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class ChallengerCase:
    """A challenger, the stage in which it starts, and the cause and limits of its withdrawal."""

    name: str
    description: str
    first_stage: Stage
    score: ScoreCase
    cause: str  # of its withdrawal; empty: it must become champion
    max_requests: float = math.inf  # that may reach it
    max_days: float = math.inf
    labelled: bool = True  # whether labels become known


def healthy_score(row: dict[str, Any]) -> float:
    return float(np.clip(row["score"] + row["noise"], 0, 1))


def failing_score(row: dict[str, Any]) -> float:
    if row["number"] % 10 == 0:
        raise RuntimeError("fails on one case in ten")
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
    """Return a healthy challenger, and a bad one for each cause in each stage."""
    days = policy["shadow"]["days"] + policy["canary"]["days"] + 2
    few, shadow, canary = (
        2 * REQUESTS_BETWEEN_LOOKS, policy["shadow"]["max_days"], policy["canary"]["max_days"]
    )  # fmt: skip
    # A canary gets a small share of the keys, while looks count the requests of both arms.
    return [
        ChallengerCase("healthy", "scores near the champion's, like a refit", "shadow",
                       healthy_score, "", max_days=days),
        ChallengerCase("errors", "raises on one case in ten", "shadow", failing_score, "errors",
                       few),
        ChallengerCase("no numbers", "answers NaN", "shadow", nan_score, "errors", few),
        ChallengerCase("slow", "takes 8 ms longer", "shadow", slow_score, "slow", few),
        ChallengerCase("shifted scores", "0.3 too high", "shadow", shifted_score, "scores", few),
        ChallengerCase("worse on labels", "scores of other cases", "shadow", shuffled_score,
                       "cost", max_days=shadow),
        ChallengerCase("far worse on labels", "scores upside down", "shadow", inverted_score,
                       "cost", max_days=4),
        ChallengerCase("no labels", "healthy, but no label comes in", "shadow", healthy_score,
                       "time", max_days=shadow + 1, labelled=False),
        ChallengerCase("errors, in the canary", "raises on one case in ten", "canary",
                       failing_score, "errors", few),
        ChallengerCase("slow, in the canary", "takes 8 ms longer", "canary", slow_score, "slow",
                       few),
        ChallengerCase("shifted, in the canary", "0.3 too high", "canary", shifted_score,
                       "scores", few, max_days=canary),
    ]  # fmt: skip
