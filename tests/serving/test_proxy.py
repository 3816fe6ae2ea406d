"""The stack's nginx before one replica: it limits, and refuses in the service's format."""

import getpass
import json
import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from serving.http.schemas import MAX_ROWS
from tests.serving.in_process import JSON, example_request
from tests.serving.raw_http import connect, post_head, read_refusal, read_to_end
from tests.serving.service_process import Service, hash_tokens, served

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]
STACK = Path(__file__).parents[2] / "serving" / "stack"
AT_ONCE = 4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a replica with the limits of those of the stack."""
    with served(
        tmp_path_factory.mktemp("home"), MLOPS_TOKENS=hash_tokens("greedy", "other"),
        MLOPS_REQUESTS_AT_ONCE="0", MLOPS_REQUESTS_PER_SECOND="0",
    ) as service:  # fmt: skip
        yield service


@pytest.fixture(scope="module")
def port(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of nginx with the stack's configuration; only addresses and paths differ."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.fail("There is no nginx here: apt-get install nginx")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("nginx", numbered=False)
    text = (STACK / "nginx.conf").read_text()
    for ours, here in (
        ("/tmp/", f"{folder}/"), ("listen 8080", f"listen 127.0.0.1:{port}"),  # noqa: S108
        ("api:3000", f"127.0.0.1:{service.settings.service_port}"),
    ):  # fmt: skip
        assert ours in text
        text = text.replace(ours, here)
    (folder / "nginx.conf").write_text(text)
    limits = subprocess.run(
        ["sh", str(STACK / "limits.sh")], capture_output=True, text=True, check=True,
        env={"MLOPS_REQUESTS_PER_SECOND": "1000", "MLOPS_REQUESTS_AT_ONCE": str(AT_ONCE)},
    )  # fmt: skip
    (folder / "limits.conf").write_text(limits.stdout)
    # The workers of a root's nginx run as another user, who may not open the folder.
    options = f"daemon off; user {getpass.getuser()};"
    command = [nginx, "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", options]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).raise_for_status()
        yield port
    finally:
        process.terminate()
        process.wait(20)


def post(port: int, path: str, content: str, client: str = "other") -> httpx.Response:
    headers = JSON | {"Authorization": f"Bearer {client}"}
    url = f"http://127.0.0.1:{port}{path}"
    return httpx.post(url, content=content, headers=headers, timeout=120, trust_env=False)


CLOSE = b"Host: localhost\r\nConnection: close\r\n\r\n"
CASE = json.dumps(example_request())


def test_slow_bodies_hold_no_place(port: int) -> None:
    begun = post_head() + f"Content-Length: {len(CASE)}\r\n\r\n{CASE[:20]}".encode()
    slow = [connect(port, begun) for _ in range(10 * AT_ONCE)]
    assert [post(port, "/predict", CASE, name).status_code for name in ("greedy", "other")] == [
        200
    ] * 2
    for connection in slow:
        connection.sendall(CASE[20:].encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        connection.close()


def test_one_clients_slow_bodies_leave_room_for_the_others_and_end_without_an_answer(
    port: int,
) -> None:
    begun = post_head() + f"Content-Length: {len(CASE)}\r\n\r\n{CASE[:20]}".encode()
    slow = [connect(port, begun) for _ in range(3 * 64)]
    refused = post(port, "/predict", CASE, "greedy")
    assert (refused.status_code, refused.json()["error"]) == (429, "overloaded")
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert refused.headers["retry-after"] == "1"
    assert post(port, "/predict", CASE).status_code == 200
    slow.append(connect(port, post_head()))
    assert {read_to_end(connection) for connection in slow} == {b""}
    assert post(port, "/predict", CASE, "greedy").status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 40_000 + b"\r\n\r\n", 431, "head too large"),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", 431, "head too large"),
        (b"\x16\x03\x01 this is TLS\r\n\r\n", 400, "malformed HTTP"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed HTTP"),  # no Host
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, "malformed HTTP"),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed HTTP"),
        (post_head() + b"Content-Length: many\r\n\r\n", 400, "malformed HTTP"),
        (post_head() + b"Transfer-Encoding: gzip\r\n\r\n", 400, "malformed HTTP"),
        (post_head() + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n", 400, "malformed HTTP"),
        (post_head() + b"Content-Length: 600000\r\n\r\n", 413, "body too large"),
        (b"TRACE / HTTP/1.1\r\n" + CLOSE, 405, "wrong method"),
        (b"GET /metrics HTTP/1.1\r\n" + CLOSE, 404, "unknown path"),
        (b"GET /-/error HTTP/1.1\r\n" + CLOSE, 404, "unknown path"),
    ],
)  # fmt: skip
def test_nginx_refuses_in_the_services_format(
    content: bytes, status: int, error: str, port: int
) -> None:
    answered, refusal = read_refusal(connect(port, content))
    assert (answered, refusal["error"]) == (status, error)


def test_one_clients_batches_leave_room_for_the_others(port: int) -> None:
    batch = json.dumps({"requests": [example_request()] * MAX_ROWS})
    with ThreadPoolExecutor(80) as threads:
        batches = [threads.submit(post, port, "/predict_batch", batch, "greedy") for _ in range(80)]
        meanwhile = []
        while not all(future.done() for future in batches):
            meanwhile.append(post(port, "/predict", CASE).status_code)
        answers = [future.result() for future in batches]
    assert set(meanwhile) == {200}
    assert set(Counter(answer.status_code for answer in answers)) == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert (refused.json()["error"], refused.headers["retry-after"]) == ("overloaded", "1")
    assert ":" in refused.headers["x-served-by"]  # a replica worded it


def test_without_a_replica_nginx_answers_and_logs_it_once(
    service: Service, port: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Runs last, since it stops the replica."""
    service.stop()
    answer = post(port, "/predict", CASE)
    assert (answer.status_code, answer.json()["error"]) == (502, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    output = (tmp_path_factory.getbasetemp() / "nginx" / "output").read_text()
    assert output.count(f"request_id={answer.json()['request_id']}") == 1
