"""The compared servers: one serving process each, started as its users start it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
from prepare import HOME, ROOT

from serving.command import CODE, serve_command, serve_environment
from settings import Settings

HERE = Path(__file__).parent
#: The shortcuts that tests/bench/serving/variants.py can undo.
SHORTCUTS = {
    "trees": "trees by treelite, instead of scikit-learn's own predict",
    "walk": "treelite's C function called directly, instead of by its gtil.predict",
    "memory": "metrics in memory, instead of in files that workers share",
    "middleware": "BentoML's access log, metrics and tracing switched off",
    "freeze": "loaded objects excluded from garbage collection",
}


@dataclass(frozen=True)
class Server:
    name: str
    port: int
    path: str
    bodies: list[str]
    command: list[str]
    environment: dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def servers(notes: dict[str, Any], redis: str | None) -> list[Server]:
    own = [
        _own("features given, log", "/score", notes["score"]),
        _own("features given, log, shadow", "/score", notes["score"], MLOPS_STAGE="staging"),
        _own("online lookup in SQLite, log", "/predict", notes["predict"]),
        _own(
            "online lookup in SQLite, log, shadow", "/predict", notes["predict"],
            MLOPS_STAGE="staging",
        ),
    ]  # fmt: skip
    if redis is not None:
        own.append(
            _own("online lookup in Redis, log", "/predict", notes["predict"], MLOPS_REDIS=redis)
        )
    mlflow, fastapi, bare = free_port(), free_port(), free_port()
    models = {
        "BENCH_MODEL": str(HOME / "model.joblib"), "BENCH_SERVED": notes["served"],
        "BENCH_DIGEST": notes["digest"], "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return [
        *own,
        Server(
            "mlflow models serve", mlflow, "/invocations", notes["mlflow"],
            [_bin("mlflow"), "models", "serve", "-m", str(HOME / "mlflow-model"), "-p", str(mlflow),
             "--env-manager", "local", "--workers", "1"],
            {"MLFLOW_DISABLE_TELEMETRY": "true",
             "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        ),
        _uvicorn("FastAPI, scikit-learn, lookup", "fastapi_app", fastapi, "/predict",
                 notes["predict"], models),
        _uvicorn("bare Starlette, msgspec, evaluator", "bare_app", bare, "/score",
                 notes["score"], models),
    ]  # fmt: skip


def _own(name: str, path: str, bodies: list[str], **variables: str) -> Server:
    port = free_port()
    settings = Settings(home=HOME, service_port=port)
    environment = {
        **serve_environment(settings), **variables,
        "MLOPS_REQUESTS_PER_SECOND": "1000000",
        "MLOPS_PREDICTION_LOG": str(HOME / "var" / "log" / str(port)),
    }  # fmt: skip
    if "MLOPS_REDIS" in variables:
        online = Settings(home=HOME, redis=variables["MLOPS_REDIS"])
        environment |= {"MLOPS_FEAST_ONLINE": online.environment()["MLOPS_FEAST_ONLINE"]}
    return Server(f"this service: {name}", port, path, bodies, serve_command(settings), environment)


def shortcuts(notes: dict[str, Any]) -> dict[str, Server]:
    """Return the full service (key ""), and the service without each of its shortcuts."""
    found = {"": _own("full", "/score", notes["score"])}
    for name in SHORTCUTS:
        whole = _own(f"without {name}", "/score", notes["score"])
        changed = {"serving.service:Predictor": "variants:Predictor", str(CODE): str(HERE)}
        command = [changed.get(part, part) for part in whole.command]
        environment = {
            **whole.environment, "BENCH_WITHOUT": name,
            "BENCH_MODEL": str(HOME / "model.joblib"), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        found[name] = replace(whole, command=command, environment=environment)
    return found


def _uvicorn(
    name: str, app: str, port: int, path: str, bodies: list[str], environment: dict[str, str]
) -> Server:
    command = [
        sys.executable, "-W", "ignore", "-m", "uvicorn", "--factory", f"apps:{app}",
        "--app-dir", str(Path(__file__).parent), "--port", str(port), "--workers", "1",
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    return Server(name, port, path, bodies, command, environment)


def _bin(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@contextlib.contextmanager
def running(server: Server) -> Iterator[psutil.Process]:
    """Run the server during the block. Callers start all servers, then wait for each."""
    log = HOME / "var" / f"bench-{server.port}.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            server.command, env=os.environ | server.environment, cwd=HOME,
            stdout=output, stderr=subprocess.STDOUT,
        ) as child,
    ):  # fmt: skip
        try:
            yield psutil.Process(child.pid)
        finally:
            child.terminate()


def await_answer(server: Server, process: psutil.Process) -> None:
    deadline = time.monotonic() + 150
    while not _answers(server):
        if not process.is_running() or time.monotonic() > deadline:
            raise RuntimeError(f"{server.name} does not answer: see {HOME}/var")
        time.sleep(0.2)


def _answers(server: Server) -> bool:
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{server.port}{server.path}", content=server.bodies[0], timeout=30,
            headers={"Content-Type": "application/json"}, trust_env=False,
        )  # fmt: skip
    except httpx.TransportError:
        return False
    return answer.status_code == 200


@contextlib.contextmanager
def redis() -> Iterator[str | None]:
    """Run a Redis with the benchmark's features and yield its address; None without a binary."""
    binary = shutil.which("redis-server")
    if binary is None:
        yield None
        return
    port = free_port()
    with subprocess.Popen(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
    ) as child:
        try:
            yield _filled(f"127.0.0.1:{port}")
        finally:
            child.terminate()


def _filled(address: str) -> str:
    settings = Settings(home=HOME, redis=address)
    subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("prepare.py")), "publish"],
        env=os.environ | settings.environment() | {"MLOPS_REDIS": address},
        check=True, cwd=ROOT,
    )  # fmt: skip
    return address
