"""A proxy in the environment is used for other servers only, never for our own."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import httpx
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from prefect.exceptions import PrefectHTTPStatusError
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from pipelines.flows import flow_runs, turn_rollout
from pipelines.operations import loop_metrics, probes
from pipelines.release.staging_checks import _await_version
from pipelines.runtime import server_health, traffic
from serving.http import client
from settings import LoopError, Settings

FAILURES = (
    LoopError, httpx.HTTPError, MlflowException, PrefectHTTPStatusError, WebSocketException,
)  # fmt: skip


class Recording(ThreadingHTTPServer):
    """Answer every request with `status` and record its path."""

    def __init__(self, status: int) -> None:
        paths: list[str] = []
        body = json.dumps({"generation": 0, "digest": f"of {status}", "problem": "none"})

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                paths.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST = do_CONNECT = answer  # noqa: N815 - the library's names

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.paths = paths


@contextmanager
def running(status: int) -> Iterator[Recording]:
    with Recording(status) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    """A proxy that refuses everything, set in all variables, with a user's own `NO_PROXY`."""
    with running(403) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "intranet.example")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
        monkeypatch.setattr(turn_rollout, "LOAD_TIMEOUT", 0.2)
        monkeypatch.setattr("pipelines.release.staging_checks.SWITCH_TIMEOUT_S", 0.2)
        yield server


def ask_prefect(settings: Settings) -> None:
    with flow_runs.prefect_client(settings) as server:
        server.hello()


def ask_by_websocket(settings: Settings) -> None:
    """Connect as Prefect's client does for its events."""

    async def ask() -> None:
        async with connect(settings.prefect_url.replace("http", "ws", 1) + "/events/in"):
            pass

    asyncio.run(ask())


def ask_staging(settings: Settings) -> None:
    with httpx.Client(base_url=str(settings.staging_url)) as service:
        _await_version(service, SimpleNamespace(version="1", digest="of 200"))


def send_case(settings: Settings) -> None:
    with traffic.service_connection(settings, 1) as post:
        traffic.post_case(post, "/predict", {}, "id", "case")


CLIENTS: dict[str, Callable[[Settings], object]] = {
    "prefect": ask_prefect,
    "prefect by websocket": ask_by_websocket,
    "mlflow": lambda settings: MlflowClient(settings.tracking_uri).search_experiments(),
    "one case": lambda settings: client.post_json(settings, "/predict", "{}"),
    "sent cases": send_case,
    "the release served": lambda settings: turn_rollout.wait_for_release(settings),
    "staging": ask_staging,
    "a wait": lambda settings: server_health.wait_until_healthy("it", settings.service_url, 0.2),
    "probe": lambda settings: probes.probe_http(f"{settings.prefect_url}/ready"),
    "probe of mlflow": lambda settings: probes.probe_mlflow(str(settings.tracking_uri)),
    "Prefect's metrics": lambda settings: list(loop_metrics.flow_samples(settings)),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_our_own_servers_are_reached_directly(name: str, proxy: Recording, tmp_path: Path) -> None:
    with running(200) as server:
        port = server.server_port
        settings = Settings(
            home=tmp_path, tracking_uri=f"http://localhost:{port}", prefect_url=f"http://localhost:{port}/api",
            service_port=port, staging_url=f"http://127.0.0.1:{port}",
        )  # fmt: skip
        settings.apply_environment()
        # The stand-in's answers are not valid for each client: only the request counts.
        with suppress(*FAILURES, TypeError):
            CLIENTS[name](settings)
        assert server.paths
        assert proxy.paths == []


@pytest.mark.parametrize("name", CLIENTS)
def test_another_server_is_reached_through_the_proxy(
    name: str, proxy: Recording, tmp_path: Path
) -> None:
    other = "http://server.example.com"
    settings = Settings(
        home=tmp_path, tracking_uri=other, prefect_url=f"{other}/api", service_url=other,
        staging_url=other,
    )  # fmt: skip
    settings.apply_environment()
    with pytest.raises(FAILURES):
        CLIENTS[name](settings)
    assert proxy.paths
    assert all("server.example.com" in each for each in proxy.paths)


def test_the_users_own_exceptions_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_PROXY", "one.example, 10.0.0.0/8")
    monkeypatch.setenv("no_proxy", "two.example")
    settings = Settings(
        home=tmp_path, tracking_uri="http://mlflow:5000", prefect_url="http://10.1.2.3:4200/api",
        service_url="https://api.example.com", staging_url="http://[fe80::1]:3000",
    )  # fmt: skip
    settings.apply_environment()
    settings.apply_environment()
    expected = "one.example,10.0.0.0/8,two.example,localhost,127.0.0.1,::1,mlflow,10.1.2.3,fe80::1"
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == expected
    monkeypatch.setenv("no_proxy", "*")
    assert settings.proxy_exceptions() == {"NO_PROXY": "*", "no_proxy": "*"}
