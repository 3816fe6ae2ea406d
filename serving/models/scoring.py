"""What do champion and challenger say of one case? No challenger can harm the answer."""

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
    """One model's word on a case, or its failure; `seconds` is how long it took over it."""

    probability: float | None
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class ScoredCase:
    """The answer, and what the log is told of both arms.

    Where a challenger that was to answer failed, `model` is the champion and `failed` is set.
    """

    arm: Arm  # as routed
    model: ServedModel  # whose answer it is
    answer: ModelScore
    probability: float
    shadow: ModelScore | None  # of a challenger whose answer is not used
    failed: ModelScore | None  # of a challenger whose answer was to be used
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


def score_case(serving: LoadedRelease, key: str, values: Mapping[str, FeatureValue]) -> ScoredCase:
    """The answer to the case `key` by the arm that it belongs to, the shadow's word beside it.

    Raises what the champion raises; what the challenger raises, or what it says that is no
    probability, is told and the champion answers.
    """
    return score_cases(serving, [key], [values])[0]


def score_cases(
    serving: LoadedRelease, keys: Sequence[str], rows: Sequence[Mapping[str, FeatureValue]]
) -> list[ScoredCase]:
    """`score_case` for each case; a model is asked once about all that it has a word on."""
    release, challenger = serving.release, serving.release.challenger
    if challenger is None:
        alone = _asked(serving.champion, rows)
        return [_scored(release, "champion", None, answer) for answer in alone]
    routed = [assign_arm(key, release) for key in keys]
    in_shadow = challenger.stage == "shadow"
    asked = [n for n, each in enumerate(routed) if in_shadow or each == "challenger"]
    words = dict(zip(asked, _tried(serving, [rows[n] for n in asked]), strict=True))
    left = [
        n for n in range(len(rows)) if in_shadow or n not in words or words[n].probability is None
    ]
    answers = dict(zip(left, _asked(serving.champion, [rows[n] for n in left]), strict=True))
    return [_scored(release, where, words.get(n), answers.get(n)) for n, where in enumerate(routed)]


def _scored(
    release: Release, where: Arm, word: ModelScore | None, answer: ModelScore | None
) -> ScoredCase:
    """From the challenger's word and the champion's answer, where each was asked."""
    challenger = release.challenger
    model = challenger.model if challenger else None
    if answer is None:
        used, answer, shadow, failed = model, word, None, None
    elif challenger is not None and challenger.stage == "shadow":
        used, shadow, failed = release.champion, word, None
    else:
        used, shadow, failed = release.champion, None, word
    if used is None or answer is None or answer.probability is None:
        raise LoopError("Neither champion nor challenger has answered.")
    return ScoredCase(
        where, used, answer, answer.probability, shadow, failed, release.generation, model
    )


def _asked(model: Evaluator, rows: Sequence[Mapping[str, FeatureValue]]) -> list[ModelScore]:
    if not rows:
        return []  # and a broken model breaks nothing
    began = time.perf_counter()
    probabilities = model.predict(rows).tolist()
    seconds = (time.perf_counter() - began) / len(rows)
    return [ModelScore(probability, seconds) for probability in probabilities]


def _tried(serving: LoadedRelease, rows: Sequence[Mapping[str, FeatureValue]]) -> list[ModelScore]:
    """The challenger's words; where it fails on a row, the others are not the worse for it."""
    if not rows:
        return []
    began = time.perf_counter()
    try:
        if serving.challenger is None:
            raise LoopError(f"not loaded: {serving.problem}")
        return [_checked(word) for word in _asked(serving.challenger, rows)]
    except Exception as error:  # whatever it is: it is the challenger's, and not the request's
        if len(rows) > 1:
            return [word for row in rows for word in _tried(serving, [row])]
        told = f"{type(error).__name__}: {error}"[:300]
        return [ModelScore(None, time.perf_counter() - began, told)]


def _checked(word: ModelScore) -> ModelScore:
    if word.probability is not None and 0 <= word.probability <= 1:
        return word
    return ModelScore(None, word.seconds, f"ValueError: {word.probability} is no probability")
