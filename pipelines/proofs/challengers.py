"""Which challengers must be stopped, by what, and within how much? Bad ones, and a healthy one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.release.document import Stage

EVERY = 50  # requests between two looks, on the first day of a stage; then at each day's end
Says = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class Case:
    """A challenger, where it begins to be bad, and by what and within what it must be stopped."""

    name: str
    what: str
    begins: Stage
    says: Says
    cause: str  # of its withdrawal; empty: it must become champion
    requests: float = math.inf  # that may reach it until then
    days: float = math.inf
    labelled: bool = True  # whether labels come in at all


def healthy(row: dict[str, Any]) -> float:
    return float(np.clip(row["score"] + row["noise"], 0, 1))


def fails(row: dict[str, Any]) -> float:
    if row["number"] % 10 == 0:
        raise RuntimeError("one case in ten is more than it can take")
    return healthy(row)


def slow(row: dict[str, Any]) -> float:
    time.sleep(0.008)
    return healthy(row)


def no_number(row: dict[str, Any]) -> float:
    return math.nan


def shifted(row: dict[str, Any]) -> float:
    return float(np.clip(row["score"] + 0.3, 0, 1))


def shuffled(row: dict[str, Any]) -> float:
    return float(row["another"])


def upside_down(row: dict[str, Any]) -> float:
    return float(np.clip(2 * row["mean"] - row["score"], 0, 1))


def cases(policy: dict[str, Any]) -> list[Case]:
    """Bad challengers, at least one for each cause in each stage, and a healthy one."""
    few, shadow, canary = 2 * EVERY, policy["shadow"]["max_days"], policy["canary"]["max_days"]
    # Of the keys a canary has few: it is looked at every EVERY requests to either arm.
    return [
        Case("healthy", "scores beside the champion's, as refits have them", "shadow", healthy,
             "", days=policy["shadow"]["days"] + policy["canary"]["days"] + 2),
        Case("errors", "raises on one case in ten", "shadow", fails, "errors", few),
        Case("no numbers", "answers NaN", "shadow", no_number, "errors", few),
        Case("slow", "takes 8 ms longer", "shadow", slow, "slow", few),
        Case("shifted scores", "0.3 too high", "shadow", shifted, "scores", few),
        Case("worse on labels", "scores of other cases", "shadow", shuffled, "cost", days=shadow),
        Case("far worse on labels", "scores upside down", "shadow", upside_down, "cost", days=4),
        Case("no labels", "healthy, but no label comes in", "shadow", healthy, "time",
             days=shadow + 1, labelled=False),
        Case("errors, in the canary", "raises on one case in ten", "canary", fails, "errors", few),
        Case("slow, in the canary", "takes 8 ms longer", "canary", slow, "slow", few),
        Case("shifted, in the canary", "0.3 too high", "canary", shifted, "scores", few,
             days=canary),
    ]  # fmt: skip
