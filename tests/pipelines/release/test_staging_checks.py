"""Tests of the staging checks: slow lookups are retried, wrong answers are found."""

import json
from typing import Any

import httpx
import pytest

from pipelines.release import staging_checks


@pytest.fixture(autouse=True)
def no_retry_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_checks, "RETRY_DELAY_S", 0.0)


def client(answers: list[tuple[int, dict[str, Any]]]) -> httpx.Client:
    """A client that gets these answers in turn, and then the last one again."""

    def answer(request: httpx.Request) -> httpx.Response:
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        return httpx.Response(status, json=body)

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://staging")


def test_a_degraded_answer_is_retried() -> None:
    answer = staging_checks.request_prediction(
        client([(200, {"degraded": True}), (200, {"degraded": False})]), {}
    )
    assert answer.json() == {"degraded": False}


def test_a_degraded_answer_is_returned_after_the_last_attempt() -> None:
    answers = [(200, {"degraded": True})] * (staging_checks.MAX_ATTEMPTS - 1) + [
        (200, {"degraded": True, "n": 5})
    ]
    assert staging_checks.request_prediction(client(answers), {}).json() == {
        "degraded": True,
        "n": 5,
    }


def test_an_error_answer_is_not_retried() -> None:
    assert (
        staging_checks.request_prediction(
            client([(503, {"error": "no"}), (200, {})]), {}
        ).status_code
        == 503
    )


RIGHT = {"model_version": "2", "degraded": False, "probability": 0.25}


@pytest.mark.parametrize(("status", "changed", "said"), [
    (200, {}, None),
    (200, {"probability": 0.25 + 1e-12}, None),
    (503, {}, "503 {"),
    (200, {"model_version": "1"}, "answered by version 1"),
    # The right probability, but the online store was not tested.
    (200, {"degraded": True}, "answered without the online store, "),
    (200, {"probability": 0.2501}, "0.2501 instead of 0.25"),
    (200, {"probability": float("nan")}, "nan instead of 0.25"),
])  # fmt: skip
def test_an_answer_must_match_version_and_model(
    status: int, changed: dict[str, Any], said: str | None
) -> None:
    problem = staging_checks.answer_problem(
        httpx.Response(status, text=json.dumps(RIGHT | changed)), "2", 0.25
    )
    assert problem is None if said is None else problem is not None and problem.startswith(said)
