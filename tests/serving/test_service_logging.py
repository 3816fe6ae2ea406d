"""The service's log lines: one JSON line for a refused or failed request, none for an answered."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import service_logging
from settings import LoopError, Settings
from tests.serving.in_process import (
    LocalService,
    example_request,
    post_json,
    send_request,
    service_parts,
)
from tests.use_case import FEATURES

SCORE = {
    "key": "a-case", "decision_time": "2013-04-01T12:15:00Z",
    "features": dict.fromkeys(FEATURES),
}  # fmt: skip
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Return a function that gives the lines that this process wrote to stderr."""
    kept = {name: (log := logging.getLogger(name), log.handlers, log.level, log.propagate)
            for name in (None, "serving", *service_logging.BENTOML_LOGGERS)}  # fmt: skip
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    service_logging.configure_logging()
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    for log, handlers, level, propagate in kept.values():
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[LocalService]:
    parts = service_parts(Settings(home=tmp_path))
    yield parts
    parts.close()


def test_an_answered_request_has_no_line(lines: Lines, parts: LocalService) -> None:
    before = len(lines())
    assert post_json(parts, "/score", SCORE).status_code == 200
    assert send_request(parts, "GET", "/livez").status_code == 200
    assert lines()[before:] == []


def test_a_refused_and_a_failed_request_have_one_line_each_with_its_id(
    lines: Lines, parts: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(lines())
    post_json(
        parts,
        "/predict",
        example_request() | {"a secret": "of the client"},
        **{"X-Request-Id": "no-1"},
    )
    send_request(parts, "GET", "/a/path/that/was/made/up", headers={"X-Request-Id": "no-2"})

    def full(*_: Any) -> None:
        raise LoopError("The disk is full.")

    monkeypatch.setattr(parts.log, "append", full)
    post_json(parts, "/predict", example_request(), **{"X-Request-Id": "no-3"})
    monkeypatch.setattr(parts.log, "append", lambda *_: 1 / 0)
    post_json(parts, "/predict", example_request(), **{"X-Request-Id": "no-4"})
    entries = [one for one in lines()[before:] if "request_id" in one]
    assert [(one["request_id"], one["status"], one["level"]) for one in entries] == [
        ("no-1", 400, "INFO"), ("no-2", 404, "INFO"), ("no-3", 503, "WARNING"),
        ("no-4", 500, "ERROR"),
    ]  # fmt: skip
    assert entries[0]["path"] == "/predict"
    assert entries[2]["detail"] == "The disk is full."
    assert "ZeroDivisionError" in entries[3]["traceback"]
    assert all(one["time"].endswith("+00:00") for one in entries)
    assert "secret" not in str(entries)
    assert "made" not in str(entries)


def test_the_served_release_is_logged_with_its_generation(lines: Lines, tmp_path: Path) -> None:
    parts = service_parts(Settings(home=tmp_path))
    parts.close()
    [line] = [one for one in lines() if "generation" in one]
    assert (line["generation"], line["model_version"], line["frozen"]) == (1, "1", False)
