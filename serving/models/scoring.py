"""Scores cases with champion and challenger. A failing challenger never affects the response."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.models.evaluator import Evaluator, FeatureValue
from serving.models.holder import LoadedRelease
from serving.release.document import Arm, ServedModel, assign_arm
from settings import LoopError


@dataclass(frozen=True)
class ChallengerScore:
    """The challenger's score of a case, or its error; `seconds` is the time that it took."""

    probability: float | None
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class ScoredCase:
    """The answer to a case, and the scores that the prediction log records.

    If the challenger had to answer and failed, `failed_challenger` is set and `model` is the
    champion.
    """

    arm: Arm  # as routed
    model: ServedModel  # that answers
    probability: float
    seconds: float
    shadow: ChallengerScore | None  # in the shadow stage
    failed_challenger: ChallengerScore | None  # where it had to answer
    generation: int
    challenger: ServedModel | None

    def log_fields(self) -> dict[str, Any]:
        """Return the record's fields: the same names with and without a challenger."""
        return {
            "arm": self.arm,
            "generation": self.generation,
            "scoring_ms": self.seconds * 1000,
            "shadow_version": self.challenger.version if self.challenger and self.shadow else None,
            "shadow_probability": self.shadow and self.shadow.probability,
            "shadow_ms": self.shadow and self.shadow.seconds * 1000,
            "shadow_error": self.shadow and self.shadow.error,
            "challenger_version": self.challenger and self.challenger.version,
            "challenger_error": self.failed_challenger and self.failed_challenger.error,
        }


def score_cases(
    loaded: LoadedRelease, keys: Sequence[str], rows: Sequence[Mapping[str, FeatureValue]]
) -> list[ScoredCase]:
    """Score each case with its arm, and with the shadow if there is one; one call to each model.

    Raises the champion's errors. If the challenger fails, or returns no probability, its error is
    logged and the champion answers.
    """
    release, challenger = loaded.release, loaded.release.challenger
    arms = [assign_arm(key, release) for key in keys]
    model = challenger.model if challenger else None
    in_shadow = challenger is not None and challenger.stage == "shadow"
    asked = [n for n, arm in enumerate(arms) if in_shadow or arm == "challenger"]
    scores = dict(zip(asked, _score_challenger(loaded, [rows[n] for n in asked]), strict=True))
    challenged = {
        n: (score.probability, score.seconds)
        for n, score in scores.items()
        if not in_shadow and score.probability is not None
    }
    # The champion scores its own cases, and those on which the challenger failed.
    rest = [n for n in range(len(rows)) if n not in challenged]
    championed = zip(rest, _score(loaded.champion, [rows[n] for n in rest]), strict=True)
    answers = challenged | dict(championed)
    return [
        ScoredCase(
            arm, model if model and n in challenged else release.champion,
            *answers[n],
            shadow=scores.get(n) if in_shadow else None,
            failed_challenger=None if in_shadow or n in challenged else scores.get(n),
            generation=release.generation, challenger=model,
        )
        for n, arm in enumerate(arms)
    ]  # fmt: skip


def _score(
    model: Evaluator, rows: Sequence[Mapping[str, FeatureValue]]
) -> list[tuple[float, float]]:
    """Return the probability of each row, and its part of the time in seconds."""
    if not rows:
        return []  # a broken model that has no rows must not fail the request
    began = time.perf_counter()
    probabilities = model.predict(rows).tolist()
    seconds = (time.perf_counter() - began) / len(rows)
    return [(probability, seconds) for probability in probabilities]


def _score_challenger(
    loaded: LoadedRelease, rows: Sequence[Mapping[str, FeatureValue]]
) -> list[ChallengerScore]:
    """Score with the challenger. A failing row does not affect the others."""
    began = time.perf_counter()
    try:
        if rows and loaded.challenger is None:
            raise LoopError(f"not loaded: {loaded.problem}")
        scores = _score(loaded.challenger, rows) if loaded.challenger else []
    except Exception as error:  # of any kind: a challenger must not fail the request
        if len(rows) > 1:
            return [score for row in rows for score in _score_challenger(loaded, [row])]
        message = f"{type(error).__name__}: {error}"[:300]
        return [ChallengerScore(None, time.perf_counter() - began, message)]
    return [
        ChallengerScore(probability, seconds)
        if 0 <= probability <= 1
        else ChallengerScore(None, seconds, f"ValueError: {probability} is no probability")
        for probability, seconds in scores
    ]
