"""The guard of our pages, on a real server: refuses foreign names, and lets no page ask others."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pipelines.runtime.page_guard import PageGuard, guarded_server_command
from settings import Settings
from tests import browser

# A page as an upstream tool might ship it, with each way to ask another machine.
CURIOUS = """<!doctype html><head><link rel="stylesheet" href="http://style.example/s.css">
<script src="http://script.example/s.js"></script></head>
<body><img src="http://image.example/i.png"><iframe src="http://frame.example/"></iframe>
<script>
fetch("https://fetch.example/f").catch(() => 0);
navigator.sendBeacon("https://beacon.example/b", "seen");
try { new WebSocket("ws://socket.example/") } catch (error) { }
fetch("/own").then((answer) => answer.text()).then((text) => { document.title = text });
</script></body>"""


async def show(_: Request) -> Response:
    return HTMLResponse(CURIOUS)


async def own(_: Request) -> Response:
    return HTMLResponse("asked itself")


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def unguarded_app() -> ASGIApp:
    routes = [Route("/", show), Route("/own", own, methods=["GET", "POST"])]
    return Starlette(routes=[*routes, WebSocketRoute("/talk", talk)])


def guarded_app() -> ASGIApp:
    return PageGuard(unguarded_app(), Settings())


@pytest.fixture(scope="module")
def serve(a_free_port: Callable[[], int]) -> Iterator[Callable[..., str]]:
    """Serve an application of this file by the command of our pages; return its address."""
    processes = []

    def start(name: str, **variables: str) -> str:
        port = a_free_port()
        environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", **variables}
        factory = f"tests.pipelines.runtime.test_page_guard:{name}"
        processes.append(subprocess.Popen(guarded_server_command(factory, port), env=environment))
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{address}/own")
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return address
        raise AssertionError(f"{name} does not answer")

    yield start
    for process in processes:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def guarded(serve: Callable[..., str]) -> str:
    return serve("guarded_app")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "prefect:4200"}, 200),  # a service of the stack
        ({"Host": "elsewhere.example"}, 403),
        ({"Host": "elsewhere.example:80"}, 403),
        ({"Host": "10.elsewhere.example"}, 403),
        ({"Host": "127.0.0.1.elsewhere.example"}, 403),
        ({"Host": "localhost.elsewhere.example"}, 403),
        ({"Host": "93.184.216.34"}, 403),
        ({"Host": "[broken"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_host_or_origin_is_refused(
    guarded: str, method: str, headers: dict[str, str], status: int
) -> None:
    answer = httpx.request(method, f"{guarded}/own", headers=headers)
    assert answer.status_code == status, answer.text
    assert ("MLOPS_ALLOWED_HOSTS" in answer.text) == (status == 403)
    assert "access-control-allow-origin" not in answer.headers


def test_a_name_of_the_users_own_proxy_is_a_setting(serve: Callable[..., str]) -> None:
    address = serve("guarded_app", MLOPS_ALLOWED_HOSTS="one.example, Pages.example")
    for host, status in {"pages.example": 200, "one.example:443": 200, "two.example": 403}.items():
        assert httpx.get(f"{address}/own", headers={"Host": host}).status_code == status


def test_a_socket_of_a_foreign_page_is_refused(guarded: str) -> None:
    url = guarded.replace("http", "ws") + "/talk"
    with connect(url, proxy=None) as socket:
        assert socket.recv() == "hello"
    with pytest.raises(InvalidStatus, match="403"):
        connect(url, origin="https://elsewhere.example", proxy=None)  # type: ignore[arg-type]


def test_a_browser_asks_this_machine_only(
    serve: Callable[..., str], guarded: str, tmp_path: Path
) -> None:
    asked, _ = browser.visit(f"{serve('unguarded_app')}/", tmp_path)
    hosts = {httpx.URL(url).host for url in asked}
    kinds = ("style", "script", "image", "frame", "fetch", "beacon", "socket")
    assert hosts == {"127.0.0.1", *(f"{kind}.example" for kind in kinds)}, "the log sees all"

    asked, document = browser.visit(f"{guarded}/", tmp_path)
    assert {httpx.URL(url).host for url in asked} == {"127.0.0.1"}
    assert "<title>asked itself</title>" in document
