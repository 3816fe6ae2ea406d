"""A client's mistake gets an error response with its reason, and one log line."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.http.schemas import MAX_ROWS
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
from tests.use_case import FEATURES, USE_CASE

DOCUMENT = Path(__file__).parents[3] / "docs" / "serving.md"
TIME = next(
    name
    for name, value in example_request().items()
    if isinstance(value, str) and value.endswith("Z")
)
COUNT = next(name for name, value in example_request().items() if isinstance(value, int))
CODE = next(
    name for name, value in example_request().items() if isinstance(value, str) and value.isalpha()
)
SCORE = {
    "key": "a-case", "decision_time": "2013-04-01T12:15:00Z",
    "features": dict.fromkeys(FEATURES),
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), requests_per_second=1e6)
    parts = service_parts(settings)
    yield parts
    parts.close()


def without(name: str) -> dict[str, Any]:
    return {other: value for other, value in example_request().items() if other != name}


def raw_json(name: str, value: str) -> str:
    """Return the example as text with the raw `value`, for values that JSON can't express."""
    return json.dumps(example_request() | {name: "HERE"}).replace('"HERE"', value)


def raw_score(value: str) -> str:
    features = dict.fromkeys(FEATURES) | {FEATURES[-1]: "HERE"}
    return json.dumps(SCORE | {"features": features}).replace('"HERE"', value)


# The row of the table in docs/serving.md, path, body, status, and the named field.
REFUSED: list[tuple[str, str, Any, int, str | None]] = [
    ("missing field", "/predict", without(TIME), 400, TIME),
    ("wrong type", "/predict", example_request() | {COUNT: "1"}, 400, COUNT),
    ("wrong type", "/predict", example_request() | {COUNT: True}, 400, COUNT),
    ("wrong type", "/predict", example_request() | {COUNT: 1.5}, 400, COUNT),
    ("wrong type", "/predict", example_request() | {TIME: 1364825700}, 400, TIME),
    ("wrong type", "/predict", example_request() | {TIME: "1364825700"}, 400, TIME),
    ("out of range", "/predict", example_request() | {COUNT: -1}, 400, COUNT),
    ("malformed category", "/predict", example_request() | {CODE: "u a"}, 400, CODE),
    ("extra field", "/predict", example_request() | {"more": 1}, 400, "more"),
    ("NaN or infinity", "/predict", raw_json(COUNT, "NaN"), 400, COUNT),
    ("NaN or infinity", "/score", raw_score("NaN"), 400, f"features.{FEATURES[-1]}"),
    ("NaN or infinity", "/score", raw_score("1e999"), 400, f"features.{FEATURES[-1]}"),
    ("wrong zone", "/predict", example_request() | {TIME: "2013-04-01T14:15:00"}, 400, TIME),
    ("wrong zone", "/predict", example_request() | {TIME: "2013-04-01T14:15:00+99:00"}, 400, TIME),
    (
        "time in the past",
        "/predict",
        example_request() | {TIME: "0001-01-01T00:00:00+14:00"},
        400,
        TIME,
    ),
    ("far future", "/predict", example_request() | {TIME: "9999-12-31T23:59:59-14:00"}, 400, TIME),
    ("malformed JSON", "/predict", json.dumps(example_request())[:-5], 400, ""),
    ("malformed JSON", "/predict", "", 400, ""),
    ("malformed JSON", "/predict", b'{"\xff": 1}', 400, ""),
    ("malformed JSON", "/predict", "[" * 50_000, 400, ""),
    ("malformed JSON", "/predict", [example_request()], 400, ""),
    ("body over the limit", "/predict", "x" * 65_537, 413, None),
    (
        "batch over the limit",
        "/predict_batch",
        {"requests": [example_request()] * (MAX_ROWS + 1)},
        400,
        "requests",
    ),
    ("batch over the limit", "/predict_batch", {"requests": []}, 400, "requests"),
    (
        "wrong row in a batch",
        "/predict_batch",
        {"requests": [example_request(), without(TIME)]},
        400,
        f"requests.1.{TIME}",
    ),
    ("unknown path", "/predict/", example_request(), 404, None),
    ("unknown path", "/static_content/index.css", example_request(), 404, None),
    ("wrong method", "/livez", example_request(), 405, None),
]


@pytest.mark.parametrize(("row", "path", "body", "status", "field"), REFUSED)
def test_a_mistake_is_refused_with_its_reason(
    row: str, path: str, body: Any, status: int, field: str | None,
    parts: LocalService, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        answer = post_json(parts, path, body)
    content = answer.json()
    assert answer.status_code == status
    assert set(content) == {"error", "detail", "fields", "request_id"}
    assert content["detail"]
    assert content["request_id"] == answer.headers["x-request-id"]
    assert [one["field"] for one in content["fields"]][:1] == ([] if field is None else [field])
    [line] = [record for record in caplog.records if record.name.startswith("serving")]
    assert (line.request_id, line.status) == (content["request_id"], status)  # type: ignore[attr-defined]
    assert content["detail"] not in str(vars(line))  # the detail may hold the client's input
    assert f"| {row} | {status} |" in DOCUMENT.read_text(), "docs/serving.md lacks it"


@pytest.mark.parametrize("given", [None, "text/plain", "multipart/form-data; boundary=x", "json"])
def test_a_body_needs_the_content_type_json(given: str | None, parts: LocalService) -> None:
    headers = {} if given is None else {"Content-Type": given}
    answer = send_request(
        parts, "POST", "/predict", content=json.dumps(example_request()), headers=headers
    )
    assert (answer.status_code, answer.json()["error"]) == (415, "wrong content type")


@pytest.mark.parametrize(("given", "status"), [("gzip", 415), ("br", 415), ("Identity", 400)])
def test_a_compressed_body_is_named_as_such(given: str, status: int, parts: LocalService) -> None:
    answer = post_json(parts, "/predict", {}, **{"Content-Encoding": given})
    assert answer.status_code == status
    if status == 415:
        assert "not compressed" in answer.json()["detail"]
        assert answer.headers["accept-encoding"] == "identity"


def test_no_mistake_is_logged_as_a_prediction_or_becomes_a_label(parts: LocalService) -> None:
    post_json(parts, "/a/path/of/a/stranger", {})
    send_request(parts, "BREW", "/predict")
    page = send_request(parts, "GET", "/metrics").text
    assert "stranger" not in page
    assert set(re.findall(r'service_requests_total\{path="([^"]+)"', page)) <= {
        "/predict", "/predict_batch", "/score", "/livez", "/metrics", "other",
        "/feedback", "/explain", "/", "/readyz", "/release", "/docs.json", "/docs",
        "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/schema.json",
    }  # fmt: skip
    assert read_predictions(USE_CASE, parts.log.path.parent).empty


@pytest.mark.parametrize(
    ("reason", "status", "counted"),
    [("overloaded", 429, 1), ("too many requests", 429, 0), ("of a client", 200, 0)],
)
def test_a_replica_words_and_counts_what_the_proxy_refuses(
    reason: str, status: int, counted: int, parts: LocalService
) -> None:
    before = shared_metrics().overloaded._value.get()
    answer = post_json(parts, "/predict", example_request(), **{"X-Refusal": reason})
    assert answer.status_code == status
    assert shared_metrics().overloaded._value.get() == before + counted
    if status == 429:
        assert (answer.json()["error"], answer.headers["retry-after"]) == (reason, "1")
    assert send_request(parts, "GET", "/livez", headers={"X-Refusal": reason}).status_code == 200


def test_a_service_without_limits_accepts_any_number(tmp_path: Path) -> None:
    free = service_parts(Settings(home=tmp_path, requests_per_second=0, requests_at_once=0))
    free.api.requests.take("127.0.0.1", 1000)
    answers = [post_json(free, "/predict", example_request()).status_code for _ in range(5)]
    free.close()
    assert answers == [200] * 5


def test_too_many_requests_at_once_get_429(parts: LocalService) -> None:
    parts.api.requests.take("127.0.0.1", 64)
    try:
        answer = post_json(parts, "/predict", example_request())
        alive = send_request(parts, "GET", "/livez")
    finally:
        parts.api.requests.give_back("127.0.0.1", 64)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert alive.status_code == 200
    assert shared_metrics().overloaded._value.get() >= 1
    assert post_json(parts, "/predict", example_request()).status_code == 200
