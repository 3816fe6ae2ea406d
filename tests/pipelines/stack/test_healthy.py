"""The containers' health check accepts healthy services only."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipelines.stack.healthy import find_problem


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = int(self.path.strip("/"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"no model yet: none is released")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_success_is_healthy(address: str) -> None:
    assert find_problem(f"{address}/200") is None


def test_a_failure_is_reported(address: str) -> None:
    assert "answered 500" in (find_problem(f"{address}/500") or "")


def test_an_accepted_failure_is_healthy(address: str) -> None:
    assert find_problem(f"{address}/503,503:no model yet") is None


@pytest.mark.parametrize("wanted", ["/500,503:no model yet", "/503,503:other words", "/503"])
def test_another_status_or_other_words_are_not(address: str, wanted: str) -> None:
    assert find_problem(address + wanted) is not None


def test_a_missing_server_is_reported() -> None:
    assert "did not answer" in (find_problem("http://127.0.0.1:9/") or "")
