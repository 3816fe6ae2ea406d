"""Challengers of the rollout proofs, with the guard that must stop each, and the scored cases."""

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from contract import UseCase
from features import partitions
from features.statements import newest
from serving.release.document import Stage
from settings import LoopError

REQUESTS_BETWEEN_LOOKS = 50  # on the first day of a stage; later there is a look a day
ScoreCase = Callable[[dict[str, Any]], float]


class ChallengerCase(NamedTuple):
    """A challenger, the stage in which it starts, and the cause and limits of its withdrawal."""

    name: str
    first_stage: Stage
    score: ScoreCase
    cause: str  # of its withdrawal; empty: it must become champion
    max_requests: float = math.inf  # that may reach it
    max_days: float = math.inf
    labelled: bool = True  # whether labels become known


healthy_score: ScoreCase = itemgetter("healthy")


def failing_score(row: dict[str, Any]) -> float:
    if row["number"] % 10 == 0:
        raise RuntimeError("fails on one case in ten")
    return healthy_score(row)


def slow_score(row: dict[str, Any]) -> float:
    time.sleep(0.008)
    return healthy_score(row)


def challenger_cases(policy: dict[str, Any]) -> list[ChallengerCase]:
    """Return a healthy challenger, and a bad one for each cause in each stage."""
    days = policy["shadow"]["days"] + policy["canary"]["days"] + 2
    few, shadow, canary = (
        2 * REQUESTS_BETWEEN_LOOKS, policy["shadow"]["max_days"], policy["canary"]["max_days"]
    )  # fmt: skip
    # A canary gets a small share of the keys, while looks count the requests of both arms.
    return [
        ChallengerCase("healthy: scores near the champion's, like a refit", "shadow",
                       healthy_score, "", max_days=days),
        ChallengerCase("errors: raises on one case in ten", "shadow", failing_score, "errors", few),
        ChallengerCase("no numbers: answers NaN", "shadow", itemgetter("nan"), "errors", few),
        ChallengerCase("slow: takes 8 ms longer", "shadow", slow_score, "slow", few),
        ChallengerCase("shifted scores: 0.3 too high", "shadow", itemgetter("shifted"), "scores",
                       few),
        ChallengerCase("worse on labels: scores of other cases", "shadow", itemgetter("another"),
                       "cost", max_days=shadow),
        ChallengerCase("far worse on labels: scores upside down", "shadow",
                       itemgetter("inverted"), "cost", max_days=4),
        ChallengerCase("no labels: healthy, but no label comes in", "shadow", healthy_score, "time",
                       max_days=shadow + 1, labelled=False),
        ChallengerCase("errors, in the canary: raises on one case in ten", "canary",
                       failing_score, "errors", few),
        ChallengerCase("slow, in the canary: takes 8 ms longer", "canary", slow_score, "slow", few),
        ChallengerCase("shifted, in the canary: 0.3 too high", "canary", itemgetter("shifted"),
                       "scores", few, max_days=canary),
    ]  # fmt: skip


def draw_scored_cases(
    use_case: UseCase, start: datetime, days: int, params: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the source's cases with scores drawn by their label, and the labels.

    `score` is the champion's; `healthy`, `shifted`, `another`, `inverted`, `nan` are challengers'.

    Raises `LoopError` if the source has no labelled case.
    """
    end = start + timedelta(days=days)
    since, until = (start - timedelta(days=2)).date(), (end + timedelta(days=1)).date()
    schedule, outcomes = (
        pd.concat([use_case.fetch(feed, day) for day in partitions.day_range(since, until)])
        for feed in (use_case.spine_feed, use_case.label_feed)
    )
    labels = newest(use_case.labels(outcomes), ["key"])
    spine = use_case.spine(schedule)[["key", "decision_time"]]
    rows = spine.merge(labels[["key", "label"]], on="key")
    rows = rows[(rows["decision_time"] >= start) & (rows["decision_time"] < end)]
    rows = rows.sort_values(["decision_time", "key"], ignore_index=True)
    if rows.empty:
        raise LoopError(
            f"The source has no labelled cases from {start:%Y-%m-%d} on. Set an earlier as_of."
        )
    rng = np.random.default_rng(params["seed"])
    drawn = np.where(
        rows["label"] == 1, rng.beta(2.2, 3.5, len(rows)), rng.beta(1.6, 6.0, len(rows))
    )
    noise = rng.normal(0.01, 0.05, len(rows))
    return rows.assign(
        score=drawn, noise=noise, another=rng.permutation(drawn), number=range(len(rows)),
        healthy=np.clip(drawn + noise, 0, 1), shifted=np.clip(drawn + 0.3, 0, 1),
        inverted=np.clip(2 * drawn.mean() - drawn, 0, 1), nan=math.nan,
    ), labels  # fmt: skip
