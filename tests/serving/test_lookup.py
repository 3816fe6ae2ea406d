"""Lookups in a store that hangs or fails: they cost its budget once, and no response."""

import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.online_values import NO_VALUES
from serving.lookup import PAUSE_SECONDS
from serving.prediction_log.reader import read_predictions
from settings import Settings
from tests.serving.in_process import (
    LocalService,
    example_request,
    post_json,
    send_request,
    service_parts,
    shared_metrics,
)
from tests.use_case import USE_CASE

BUDGET = 0.2


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalService]:
    """Return a service whose Redis accepts connections and never answers."""
    for name in ("MLOPS_FEAST_ONLINE", "MLOPS_FEAST_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        parts = service_parts(Settings(home=tmp_path, redis=address, lookup_seconds=BUDGET))
        yield parts
        parts.close()


def test_a_store_that_hangs_costs_its_budget_once_and_the_response_is_degraded(
    hanging: LocalService,
) -> None:
    def fallbacks() -> float:
        return shared_metrics().lookups.labels("fallback", "unreachable")._value.get()  # type: ignore[no-any-return]

    assert post_json(hanging, "/predict", example_request()).json()[
        "degraded"
    ]  # the first request imports
    hanging.lookup._paused_until = 0.0
    before = fallbacks()
    began = time.monotonic()
    answers = [post_json(hanging, "/predict", example_request()) for _ in range(5)]
    took = time.monotonic() - began
    assert [answer.status_code for answer in answers] == [200] * 5
    assert {answer.json()["degraded"] for answer in answers} == {True}
    assert {answer.json()["features_as_of"] for answer in answers} == {None}
    assert took < PAUSE_SECONDS
    assert fallbacks() == before + 5
    logged = read_predictions(USE_CASE, hanging.log.path.parent)
    assert logged["degraded"].all()
    assert send_request(hanging, "GET", "/readyz").status_code == 200


def test_a_store_that_is_available_again_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLOPS_FEAST_ONLINE", "MLOPS_FEAST_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    parts = service_parts(Settings(home=tmp_path))
    try:
        lookup = parts.lookup
        reads: list[int] = []

        def gone(*_: object) -> None:
            reads.append(1)
            raise sqlite3.OperationalError("gone")

        monkeypatch.setattr(lookup._reader, "_read", gone)
        for _ in range(3):
            assert post_json(parts, "/predict", example_request()).json()["degraded"]
        assert len(reads) == 1
        monkeypatch.setattr(lookup, "_paused_until", 0.0)
        views = len(USE_CASE.views().views)
        monkeypatch.setattr(
            lookup._reader, "_read",
            lambda rows: ("2013-04-01T00:00:00Z", [[NO_VALUES] * len(rows)] * views),
        )  # fmt: skip
        assert not post_json(parts, "/predict", example_request()).json()["degraded"]
    finally:
        parts.close()
