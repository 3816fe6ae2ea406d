"""What do champion and challenger say of one case? No challenger can harm the answer."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.evaluator import Evaluator, Value
from serving.models import Serving
from serving.release import ServedModel
from serving.routing import Arm, arm
from settings import LoopError


@dataclass(frozen=True)
class Score:
    """One model's word on a case, or its failure; `seconds` is how long it took over it."""

    probability: float | None
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Scored:
    """The answer, and what the log is told of both arms.

    Where a challenger that was to answer failed, `model` is the champion and `failed` is set.
    """

    arm: Arm  # as routed
    model: ServedModel  # whose answer it is
    answer: Score
    probability: float
    shadow: Score | None  # of a challenger whose answer is not used
    failed: Score | None  # of a challenger whose answer was to be used
    generation: int
    challenger: ServedModel | None

    def logged(self) -> dict[str, Any]:
        """The fields of the log's record; the same names with and without a challenger."""
        return {
            "arm": self.arm,
            "generation": self.generation,
            "scoring_ms": self.answer.seconds * 1000,
            "shadow_version": self.challenger.version if self.challenger and self.shadow else None,
            "shadow_probability": self.shadow and self.shadow.probability,
            "shadow_ms": self.shadow and self.shadow.seconds * 1000,
            "shadow_error": self.shadow and self.shadow.error,
            "challenger_version": self.challenger and self.challenger.version,
            "challenger_error": self.failed and self.failed.error,
        }


def score(serving: Serving, key: str, values: Mapping[str, Value]) -> Scored:
    """The answer to the case `key` by the arm that it belongs to, the shadow's word beside it.

    Raises what the champion raises; what the challenger raises, or what it says that is no
    probability, is told and the champion answers.
    """
    release, challenger = serving.release, serving.release.challenger
    routed = arm(key, release)
    model = challenger.model if challenger else None
    shadow = failed = None
    if challenger is not None and (routed == "challenger" or challenger.stage == "shadow"):
        word = _tried(serving, values)
        if challenger.stage == "shadow":
            shadow = word
        elif word.probability is not None:
            return Scored(
                routed, challenger.model, word, word.probability, None, None,
                release.generation, model,
            )  # fmt: skip
        else:
            failed = word
    began = time.perf_counter()
    probability = float(serving.champion.predict([values])[0])
    answer = Score(probability, time.perf_counter() - began)
    return Scored(
        routed, release.champion, answer, probability, shadow, failed, release.generation, model
    )


def score_all(
    serving: Serving, keys: Sequence[str], rows: Sequence[Mapping[str, Value]]
) -> list[Scored]:
    """`score` for each case. A champion alone walks its trees once for all of them."""
    if serving.release.challenger is not None or len(rows) == 1:
        return [score(serving, key, row) for key, row in zip(keys, rows, strict=True)]
    began = time.perf_counter()
    probabilities = serving.champion.predict(rows).tolist()
    seconds = (time.perf_counter() - began) / len(rows)
    release = serving.release
    return [
        Scored(
            "champion", release.champion, Score(probability, seconds), probability, None, None,
            release.generation, None,
        )
        for probability in probabilities
    ]  # fmt: skip


def _tried(serving: Serving, values: Mapping[str, Value]) -> Score:
    began = time.perf_counter()
    try:
        probability = _probability(serving.challenger, serving.problem, values)
    except Exception as error:  # whatever it is: it is the challenger's, and not the request's
        told = f"{type(error).__name__}: {error}"[:300]
        return Score(None, time.perf_counter() - began, told)
    return Score(probability, time.perf_counter() - began)


def _probability(
    challenger: Evaluator | None, problem: str | None, values: Mapping[str, Value]
) -> float:
    if challenger is None:
        raise LoopError(f"not loaded: {problem}")
    probability = float(challenger.predict([values])[0])
    if math.isnan(probability) or not 0 <= probability <= 1:
        raise ValueError(f"{probability} is no probability")
    return probability
