"""Slow, oversized, malformed and greedy requests to the real service: the others are answered."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.http.connections import MAX_HEAD
from serving.http.schemas import MAX_ROWS
from tests.serving.in_process import JSON, example_request
from tests.serving.raw_http import connect, post_head, read_refusal, read_to_end
from tests.serving.service_process import Service, hash_tokens, served

pytestmark = pytest.mark.timeout(180)
SECONDS = 3  # for a head, and for a body
CONNECTIONS = 150
BODY = json.dumps(example_request()).encode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(
        tmp_path_factory.mktemp("home"), MLOPS_TOKENS=hash_tokens("greedy", "other"),
        MLOPS_RECEIVE_SECONDS=str(SECONDS), MLOPS_CONNECTIONS_AT_ONCE=str(CONNECTIONS),
        MLOPS_ROWS_AT_ONCE=str(2 * MAX_ROWS), MLOPS_REQUESTS_PER_SECOND="0",
    ) as service:  # fmt: skip
        yield service


def send(service: Service, content: bytes) -> socket.socket:
    return connect(service.settings.service_port, content)


def predict(service: Service, name: str = "other") -> int:
    headers = {"Authorization": f"Bearer {name}"}
    return service.predict(headers=headers).status_code


def log_lines(service: Service, request_id: str) -> list[dict[str, Any]]:
    lines = Path(service.output.name).read_text().splitlines()
    return [json.loads(line) for line in lines if request_id in line]


def test_slow_bodies_hold_no_place_and_have_a_deadline(service: Service) -> None:
    announced = post_head() + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:20]
    chunked = post_head() + b"Transfer-Encoding: chunked\r\n\r\n5\r\n"
    slow = [send(service, announced if n % 2 else chunked) for n in range(70)]
    service.wait("/metrics", lambda r: "service_requests_receiving 70.0" in r.text)
    assert [predict(service, name) for name in ("greedy", "other")] == [200, 200]
    answers = [read_refusal(connection) for connection in slow]
    assert {(status, error["error"]) for status, error in answers} == {(408, "request too slow")}
    assert "service_requests_receiving 0.0" in service.client.get("/metrics").text


@pytest.mark.parametrize("end", ["headers", "line", "trailers"])
def test_a_head_without_end_is_refused_at_its_limit(end: str, service: Service) -> None:
    begin = {
        "headers": post_head() + b"X-Long: ",
        "line": b"GET /",
        "trailers": post_head() + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Long: ",
    }[end]
    with send(service, begin) as connection, suppress(OSError):  # once it has been closed
        for _ in range(200):  # 20 MB, most of them after the refusal
            connection.sendall(b"x" * 100_000)
    assert predict(service) == 200
    connection = send(service, begin + b"x" * 2 * MAX_HEAD)
    status, error = read_refusal(connection)
    assert (status, error["error"]) == (431, "head too large")
    [line] = log_lines(service, error["request_id"])
    assert (line["status"], line["path"]) == (431, "other")


def test_a_head_just_below_the_limit_is_read_also_in_pieces(service: Service) -> None:
    rest = f"Content-Length: {len(BODY)}\r\nConnection: close\r\n\r\n".encode()
    padding = MAX_HEAD - len(post_head("other")) - len(rest) - len(b"X-Long: \r\n") - 1
    content = post_head("other") + b"X-Long: " + b"x" * padding + b"\r\n" + rest + BODY
    connection = send(service, content[:1000])
    for start in range(1000, len(content), 7000):
        connection.sendall(content[start : start + 7000])
        time.sleep(0.01)
    assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_a_slow_head_has_a_deadline_and_an_unused_connection_is_closed(service: Service) -> None:
    slow, unused = send(service, post_head()[:30]), send(service, b"")
    status, error = read_refusal(slow)
    assert (status, error["error"]) == (408, "request too slow")
    assert unused.recv(100) == b""
    unused.close()


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01 this is TLS", b"GET /livez HTTP/9.9\r\n\r\n", b"GET\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        post_head() + b"Content-Length: many\r\n\r\n",
        post_head() + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        post_head() + b"Transfer-Encoding: chunked\r\n\r\nnot a size\r\n",
    ],
)  # fmt: skip
def test_malformed_http_is_answered_in_the_services_format(
    content: bytes, service: Service
) -> None:
    status, error = read_refusal(send(service, content))
    assert (status, error["error"]) == (400, "malformed HTTP")
    [line] = log_lines(service, error["request_id"])
    assert (line["status"], line["path"]) == (400, "other")
    assert (
        'service_requests_total{path="other",status="400"}' in service.client.get("/metrics").text
    )


def test_a_websocket_is_an_unknown_path(service: Service) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    answer = service.client.get("/ws", headers=upgrade)
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown path")


def test_too_many_connections_are_refused_and_the_others_are_kept(service: Service) -> None:
    assert predict(service) == 200  # this client's connection is kept alive
    idle = [send(service, b"") for _ in range(CONNECTIONS + 5)]
    status, error = read_refusal(idle.pop())
    assert (status, error["error"]) == (429, "overloaded")
    assert predict(service) == 200
    for connection in idle:
        connection.close()


def test_one_clients_batches_leave_room_for_the_others(service: Service) -> None:
    rows = [example_request()] * MAX_ROWS
    content = json.dumps({"requests": rows}).encode()

    def batch(_: int) -> httpx.Response:
        headers = JSON | {"Authorization": "Bearer greedy"}
        url = f"{service.settings.service_url}/predict_batch"
        return httpx.post(url, content=content, headers=headers, timeout=120)

    with ThreadPoolExecutor(80) as threads:
        batches = [threads.submit(batch, n) for n in range(80)]
        meanwhile = []
        while not all(future.done() for future in batches):
            meanwhile.append(predict(service))
        answers = [future.result() for future in batches]
    assert set(meanwhile) == {200}
    # How many are answered depends on how many arrive while one is computed.
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert (refused.json()["error"], refused.headers["retry-after"]) == ("overloaded", "1")
    page = service.client.get("/metrics").text
    assert "service_rows_under_way 0.0" in page
    assert "service_requests_under_way 0.0" in page
    with ThreadPoolExecutor(2) as threads:  # alone, the client may take every place
        assert [answer.status_code for answer in threads.map(batch, range(2))] == [200, 200]
