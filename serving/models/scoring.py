"""Scores cases with champion and challenger. A failing challenger never affects the response."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.models.evaluator import Evaluator, FeatureValue
from serving.models.holder import LoadedRelease
from serving.release.document import Release, ServedModel
from serving.release.routing import Arm, assign_arm
from settings import LoopError


@dataclass(frozen=True)
class ModelScore:
    """One model's score of a case, or its error; `seconds` is the time that it took."""

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
    answer: ModelScore
    probability: float
    shadow: ModelScore | None  # the challenger's, in the shadow stage
    failed_challenger: ModelScore | None  # the challenger's, where it had to answer
    generation: int
    challenger: ServedModel | None

    def log_fields(self) -> dict[str, Any]:
        """Return the record's fields: the same names with and without a challenger."""
        return {
            "arm": self.arm,
            "generation": self.generation,
            "scoring_ms": self.answer.seconds * 1000,
            "shadow_version": self.challenger.version if self.challenger and self.shadow else None,
            "shadow_probability": self.shadow and self.shadow.probability,
            "shadow_ms": self.shadow and self.shadow.seconds * 1000,
            "shadow_error": self.shadow and self.shadow.error,
            "challenger_version": self.challenger and self.challenger.version,
            "challenger_error": self.failed_challenger and self.failed_challenger.error,
        }


def score_case(loaded: LoadedRelease, key: str, values: Mapping[str, FeatureValue]) -> ScoredCase:
    """Score the case `key` with its arm, and with the shadow if there is one.

    Raises the champion's errors. If the challenger fails, or returns no probability, its error is
    logged and the champion answers.
    """
    return score_cases(loaded, [key], [values])[0]


def score_cases(
    loaded: LoadedRelease, keys: Sequence[str], rows: Sequence[Mapping[str, FeatureValue]]
) -> list[ScoredCase]:
    """Score each case like `score_case`, with one call to each model for all its rows."""
    release, challenger = loaded.release, loaded.release.challenger
    if challenger is None:
        scores = _score(loaded.champion, rows)
        return [_combine(release, "champion", None, score) for score in scores]
    arms = [assign_arm(key, release) for key in keys]
    in_shadow = challenger.stage == "shadow"
    challenged = [n for n, arm in enumerate(arms) if in_shadow or arm == "challenger"]
    challenger_scores = dict(
        zip(challenged, _score_challenger(loaded, [rows[n] for n in challenged]), strict=True)
    )
    # The champion scores its own cases, and those on which the challenger failed.
    championed = [
        n
        for n in range(len(rows))
        if in_shadow or n not in challenger_scores or challenger_scores[n].probability is None
    ]
    champion_scores = dict(
        zip(championed, _score(loaded.champion, [rows[n] for n in championed]), strict=True)
    )
    return [
        _combine(release, arm, challenger_scores.get(n), champion_scores.get(n))
        for n, arm in enumerate(arms)
    ]


def _combine(
    release: Release, arm: Arm, challenger_score: ModelScore | None,
    champion_score: ModelScore | None,
) -> ScoredCase:  # fmt: skip
    """Choose the answer. A score is None where its model was not asked."""
    challenger = release.challenger
    model = challenger.model if challenger else None
    shadow = failed = None
    if champion_score is None:
        answering, answer = model, challenger_score
    elif challenger is not None and challenger.stage == "shadow":
        answering, answer, shadow = release.champion, champion_score, challenger_score
    else:
        answering, answer, failed = release.champion, champion_score, challenger_score
    if answering is None or answer is None or answer.probability is None:
        raise LoopError("Neither champion nor challenger returned a score. Look at the model.")
    return ScoredCase(
        arm, answering, answer, answer.probability, shadow, failed, release.generation, model
    )


def _score(model: Evaluator, rows: Sequence[Mapping[str, FeatureValue]]) -> list[ModelScore]:
    if not rows:
        return []  # a broken model that has no rows must not fail the request
    began = time.perf_counter()
    probabilities = model.predict(rows).tolist()
    seconds = (time.perf_counter() - began) / len(rows)
    return [ModelScore(probability, seconds) for probability in probabilities]


def _score_challenger(
    loaded: LoadedRelease, rows: Sequence[Mapping[str, FeatureValue]]
) -> list[ModelScore]:
    """Score with the challenger. A failing row does not affect the others."""
    if not rows:
        return []
    began = time.perf_counter()
    try:
        if loaded.challenger is None:
            raise LoopError(f"not loaded: {loaded.problem}")
        return [_fail_unless_probability(score) for score in _score(loaded.challenger, rows)]
    except Exception as error:  # of any kind: a challenger must not fail the request
        if len(rows) > 1:
            return [score for row in rows for score in _score_challenger(loaded, [row])]
        message = f"{type(error).__name__}: {error}"[:300]
        return [ModelScore(None, time.perf_counter() - began, message)]


def _fail_unless_probability(score: ModelScore) -> ModelScore:
    """Return `score`, or a failure if its value is not from 0 to 1."""
    if score.probability is not None and 0 <= score.probability <= 1:
        return score
    return ModelScore(None, score.seconds, f"ValueError: {score.probability} is no probability")
