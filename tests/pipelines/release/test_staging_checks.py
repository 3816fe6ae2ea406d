"""Is a slow lookup told apart from a version that is wrong, and a store that is away from both?"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from pipelines.release import staging_checks


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_checks, "RETRY_DELAY_S", 0.0)


def client(answers: list[tuple[int, dict[str, Any]]]) -> httpx.Client:
    """Answers one after another, and the last for ever."""

    def answer(request: httpx.Request) -> httpx.Response:
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        return httpx.Response(status, json=body)

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://staging")


def test_a_lookup_that_was_slow_is_asked_again() -> None:
    found = staging_checks.request_prediction(
        client([(200, {"degraded": True}), (200, {"degraded": False})]), {}
    )
    assert found.json() == {"degraded": False}


def test_a_store_that_stays_away_is_seen_in_the_answer() -> None:
    answers = [(200, {"degraded": True})] * (staging_checks.MAX_ATTEMPTS - 1) + [
        (200, {"degraded": True, "n": 5})
    ]
    assert staging_checks.request_prediction(client(answers), {}).json() == {
        "degraded": True,
        "n": 5,
    }


def test_a_refusal_is_taken_at_its_word() -> None:
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
    # Right by chance, but without what it is to be tried with.
    (200, {"degraded": True}, "answered without the online store, "),
    (200, {"probability": 0.2501}, "0.2501 instead of 0.25"),
    (200, {"probability": float("nan")}, "nan instead of 0.25"),
])  # fmt: skip
def test_an_answer_is_held_to_the_version_and_to_its_model(
    status: int, changed: dict[str, Any], said: str | None
) -> None:
    found = staging_checks.answer_problem(
        httpx.Response(status, text=json.dumps(RIGHT | changed)), "2", 0.25
    )
    assert found is None if said is None else found is not None and found.startswith(said)
