"""Whatever a challenger does, is the answer right, and is it told what the challenger did?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from serving.models.holder import LoadedRelease
from serving.models.scoring import ScoredCase, score_case, score_cases
from serving.release.document import Challenger, Release, ServedModel
from serving.release.routing import assign_arm

NOW = datetime(2013, 4, 1, tzinfo=UTC)
CHAMPION, OTHER = ServedModel("7", "a" * 64, "7", 0.2), ServedModel("8", "b" * 64, "8", 0.4)


class Says:
    """In place of an evaluator: says one value, or raises one."""

    def __init__(self, word: float | BaseException) -> None:
        self.word = word
        self.times = 0

    def predict(self, rows: Any) -> np.ndarray:
        self.times += 1
        if isinstance(self.word, BaseException):
            raise self.word
        return np.full(len(rows), self.word)


class Doubles(Says):
    """Twice what a row says, and nothing at all where there is a row that says none."""

    def predict(self, rows: Any) -> np.ndarray:
        self.times += 1
        return np.array([2 * row["a"] for row in rows])


def asked(stage: str | None, word: float | BaseException | None, percent: float = 0) -> ScoredCase:
    challenger = Challenger(OTHER, stage, percent, NOW) if stage else None  # type: ignore[arg-type]
    serving = LoadedRelease(
        Release(5, CHAMPION, NOW, challenger), Says(0.3),  # type: ignore[arg-type]
        None if word is None else Says(word), "its digest is wrong",  # type: ignore[arg-type]
    )  # fmt: skip
    return score_case(serving, "a case", {"a": 1.0})


def test_a_champion_alone_answers_and_nothing_else_is_told() -> None:
    found = asked(None, None)
    assert (found.model, found.probability) == (CHAMPION, 0.3)
    logged = found.log_fields()
    assert (logged["arm"], logged["generation"]) == ("champion", 5)
    assert {name for name, value in logged.items() if value is not None} == {
        "arm", "generation", "scoring_ms",
    }  # fmt: skip


def test_a_shadow_is_told_and_not_answered() -> None:
    found = asked("shadow", 0.9)
    assert (found.model, found.probability) == (CHAMPION, 0.3)
    logged = found.log_fields()
    assert (logged["shadow_version"], logged["shadow_probability"]) == ("8", 0.9)
    assert logged["shadow_error"] is None
    assert logged["arm"] == "champion"


BROKEN = [RuntimeError("it broke"), float("nan"), float("inf"), 1.5, -0.1, MemoryError(), None]


@pytest.mark.parametrize("word", BROKEN, ids=repr)
def test_a_broken_shadow_harms_no_answer(word: Any) -> None:
    found = asked("shadow", word)
    assert (found.model, found.probability) == (CHAMPION, 0.3)
    logged = found.log_fields()
    assert logged["shadow_probability"] is None
    assert logged["shadow_version"] == "8"
    assert logged["shadow_error"]
    assert logged["challenger_error"] is None


@pytest.mark.parametrize("stage", ["canary", "experiment"])
def test_a_canary_answers_its_keys(stage: str) -> None:
    found = asked(stage, 0.9, 100)
    assert (found.model, found.probability, found.arm) == (OTHER, 0.9, "challenger")
    assert found.log_fields()["shadow_version"] is None


@pytest.mark.parametrize("word", BROKEN, ids=repr)
def test_where_a_canary_breaks_the_champion_answers_and_the_failure_is_the_canarys(
    word: Any,
) -> None:
    found = asked("canary", word, 100)
    assert (found.model, found.probability) == (CHAMPION, 0.3)
    logged = found.log_fields()
    assert (logged["arm"], logged["challenger_version"]) == ("challenger", "8")
    assert logged["challenger_error"]


def test_a_champion_that_breaks_is_not_hidden() -> None:
    serving = LoadedRelease(Release(1, CHAMPION, NOW), Says(RuntimeError("it broke")))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="it broke"):
        score_case(serving, "a case", {"a": 1.0})


@pytest.mark.parametrize(("stage", "percent"), [("shadow", 0), ("canary", 30), ("canary", 100)])
def test_many_cases_are_answered_as_each_alone_and_each_model_is_asked_once(
    stage: str, percent: float
) -> None:
    champion, challenger = Doubles(0.0), Says(0.9)
    release = Release(5, CHAMPION, NOW, Challenger(OTHER, stage, percent, NOW))  # type: ignore[arg-type]
    serving = LoadedRelease(release, champion, challenger, None)  # type: ignore[arg-type]
    keys = [f"case {number}" for number in range(50)]
    rows = [{"a": number / 100} for number in range(50)]
    together = score_cases(serving, keys, rows)  # type: ignore[arg-type]
    assert (champion.times, challenger.times) == (percent < 100, 1)
    assert [each.arm for each in together] == [assign_arm(key, release) for key in keys]
    for key, row, each in zip(keys, rows, together, strict=True):
        alone = score_case(serving, key, row)
        assert (each.model, each.probability) == (alone.model, alone.probability)
        times = {"scoring_ms": 0, "shadow_ms": 0}
        assert each.log_fields() | times == alone.log_fields() | times
    assert score_cases(serving, [], []) == []


@pytest.mark.parametrize("stage", ["shadow", "canary"])
def test_a_row_that_breaks_a_challenger_takes_no_other_rows_word(stage: str) -> None:
    percent = 0 if stage == "shadow" else 100
    release = Release(5, CHAMPION, NOW, Challenger(OTHER, stage, percent, NOW))  # type: ignore[arg-type]
    serving = LoadedRelease(release, Says(0.3), Doubles(0.0), None)  # type: ignore[arg-type]
    rows = [{"a": 0.1}, {}, {"a": 0.7}, {"a": 0.2}]
    found = [each.log_fields() for each in score_cases(serving, ["a", "b", "c", "d"], rows)]
    error = "shadow_error" if stage == "shadow" else "challenger_error"
    told = [each[error] for each in found]
    assert told == [None, "KeyError: 'a'", "ValueError: 1.4 is no probability", None]
    assert {each["arm"] for each in found} == {"champion" if stage == "shadow" else "challenger"}
