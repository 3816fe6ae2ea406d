"""Is a slow lookup told apart from a version that is wrong, and a store that is away from both?"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pipelines import staging


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "RESTS", 0.0)


def client(answers: list[tuple[int, dict[str, Any]]]) -> httpx.Client:
    """Answers one after another, and the last for ever."""

    def answer(request: httpx.Request) -> httpx.Response:
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        return httpx.Response(status, json=body)

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://staging")


def test_a_lookup_that_was_slow_is_asked_again() -> None:
    found = staging.asked(client([(200, {"degraded": True}), (200, {"degraded": False})]), {})
    assert found.json() == {"degraded": False}


def test_a_store_that_stays_away_is_seen_in_the_answer() -> None:
    answers = [(200, {"degraded": True})] * (staging.TRIES - 1) + [
        (200, {"degraded": True, "n": 5})
    ]
    assert staging.asked(client(answers), {}).json() == {"degraded": True, "n": 5}


def test_a_refusal_is_taken_at_its_word() -> None:
    assert staging.asked(client([(503, {"error": "no"}), (200, {})]), {}).status_code == 503
