"""Scoring: a challenger never affects the response, and its scores and errors are logged."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from serving.models.holder import LoadedRelease
from serving.models.scoring import ScoredCase, score_cases
from serving.release.document import Challenger, Release, ServedModel, assign_arm

NOW = datetime(2013, 4, 1, tzinfo=UTC)
CHAMPION, OTHER = ServedModel("7", "a" * 64, "7", 0.2), ServedModel("8", "b" * 64, "8", 0.4)


class ConstantModel:
    """Stands in for an evaluator: returns one value, or raises one."""

    def __init__(self, output: float | BaseException) -> None:
        self.output = output
        self.calls = 0

    def predict(self, rows: Any) -> np.ndarray:
        self.calls += 1
        if isinstance(self.output, BaseException):
            raise self.output
        return np.full(len(rows), self.output)


class DoublingModel(ConstantModel):
    """Returns twice the row's value, and raises for a row without one."""

    def predict(self, rows: Any) -> np.ndarray:
        self.calls += 1
        return np.array([2 * row["a"] for row in rows])


def score_with(
    stage: str | None, output: float | BaseException | None, percent: float = 0
) -> ScoredCase:
    challenger = Challenger(OTHER, stage, percent, NOW) if stage else None  # type: ignore[arg-type]
    loaded = LoadedRelease(
        Release(5, CHAMPION, NOW, challenger), ConstantModel(0.3),  # type: ignore[arg-type]
        None if output is None else ConstantModel(output), "its digest is wrong",  # type: ignore[arg-type]
    )  # fmt: skip
    return score_cases(loaded, ["a case"], [{"a": 1.0}])[0]


def test_a_champion_alone_answers_and_nothing_else_is_logged() -> None:
    scored = score_with(None, None)
    assert (scored.model, scored.probability) == (CHAMPION, 0.3)
    logged = scored.log_fields()
    assert (logged["arm"], logged["generation"]) == ("champion", 5)
    assert {name for name, value in logged.items() if value is not None} == {
        "arm", "generation", "scoring_ms",
    }  # fmt: skip


def test_a_shadow_is_logged_and_does_not_answer() -> None:
    scored = score_with("shadow", 0.9)
    assert (scored.model, scored.probability) == (CHAMPION, 0.3)
    logged = scored.log_fields()
    assert (logged["shadow_version"], logged["shadow_probability"]) == ("8", 0.9)
    assert logged["shadow_error"] is None
    assert logged["arm"] == "champion"


BROKEN = [RuntimeError("it broke"), float("nan"), float("inf"), 1.5, -0.1, MemoryError(), None]


@pytest.mark.parametrize("output", BROKEN, ids=repr)
def test_a_broken_shadow_does_not_affect_the_response(output: Any) -> None:
    scored = score_with("shadow", output)
    assert (scored.model, scored.probability) == (CHAMPION, 0.3)
    logged = scored.log_fields()
    assert logged["shadow_probability"] is None
    assert logged["shadow_version"] == "8"
    assert logged["shadow_error"]
    assert logged["challenger_error"] is None


@pytest.mark.parametrize("stage", ["canary", "experiment"])
def test_a_canary_answers_its_keys(stage: str) -> None:
    scored = score_with(stage, 0.9, 100)
    assert (scored.model, scored.probability, scored.arm) == (OTHER, 0.9, "challenger")
    assert scored.log_fields()["shadow_version"] is None


@pytest.mark.parametrize("output", BROKEN, ids=repr)
def test_if_a_canary_breaks_the_champion_answers_and_the_canarys_error_is_logged(
    output: Any,
) -> None:
    scored = score_with("canary", output, 100)
    assert (scored.model, scored.probability) == (CHAMPION, 0.3)
    logged = scored.log_fields()
    assert (logged["arm"], logged["challenger_version"]) == ("challenger", "8")
    assert logged["challenger_error"]


def test_a_champion_that_breaks_is_not_hidden() -> None:
    loaded = LoadedRelease(Release(1, CHAMPION, NOW), ConstantModel(RuntimeError("it broke")))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="it broke"):
        score_cases(loaded, ["a case"], [{"a": 1.0}])


@pytest.mark.parametrize(("stage", "percent"), [("shadow", 0), ("canary", 30), ("canary", 100)])
def test_many_cases_score_as_each_alone_with_one_call_to_each_model(
    stage: str, percent: float
) -> None:
    champion, challenger = DoublingModel(0.0), ConstantModel(0.9)
    release = Release(5, CHAMPION, NOW, Challenger(OTHER, stage, percent, NOW))  # type: ignore[arg-type]
    loaded = LoadedRelease(release, champion, challenger, None)  # type: ignore[arg-type]
    keys = [f"case {number}" for number in range(50)]
    rows = [{"a": number / 100} for number in range(50)]
    together = score_cases(loaded, keys, rows)  # type: ignore[arg-type]
    assert (champion.calls, challenger.calls) == (percent < 100, 1)
    assert [each.arm for each in together] == [assign_arm(key, release) for key in keys]
    for key, row, each in zip(keys, rows, together, strict=True):
        [alone] = score_cases(loaded, [key], [row])
        assert (each.model, each.probability) == (alone.model, alone.probability)
        times = {"scoring_ms": 0, "shadow_ms": 0}
        assert each.log_fields() | times == alone.log_fields() | times
    assert score_cases(loaded, [], []) == []


@pytest.mark.parametrize("stage", ["shadow", "canary"])
def test_a_row_that_breaks_a_challenger_does_not_affect_other_rows(stage: str) -> None:
    percent = 0 if stage == "shadow" else 100
    release = Release(5, CHAMPION, NOW, Challenger(OTHER, stage, percent, NOW))  # type: ignore[arg-type]
    loaded = LoadedRelease(release, ConstantModel(0.3), DoublingModel(0.0), None)  # type: ignore[arg-type]
    rows = [{"a": 0.1}, {}, {"a": 0.7}, {"a": 0.2}]
    logged = [each.log_fields() for each in score_cases(loaded, ["a", "b", "c", "d"], rows)]
    error = "shadow_error" if stage == "shadow" else "challenger_error"
    errors = [each[error] for each in logged]
    assert errors == [None, "KeyError: 'a'", "ValueError: 1.4 is no probability", None]
    assert {each["arm"] for each in logged} == {"champion" if stage == "shadow" else "challenger"}
