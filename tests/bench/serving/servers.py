"""The compared servers: one serving process each, started as its users start it."""

import contextlib
import json
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
    "middleware": "requests answered before BentoML's middlewares",
    "freeze": "loaded objects excluded from garbage collection",
}
#: v0.1, and what its own benchmark says of its server, as JSON.
V01 = "ce026cd"
DESCRIBE_V01 = """
import dataclasses, json, sys
sys.path.insert(0, "tests/bench/serving")
from prepare import made
from servers import _own
print(json.dumps(dataclasses.asdict(_own("v0.1", "/score", made()["score"]))))
"""


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
    score, predict = ("/score", notes["score"]), ("/predict", notes["predict"])
    own = [
        _own("this service: features given, log", *score),
        _own("this service: features given, log, shadow", *score, MLOPS_STAGE="staging"),
        _own("this service: online lookup in SQLite, log", *predict),
        _own("this service: online lookup in SQLite, log, shadow", *predict, MLOPS_STAGE="staging"),
    ]
    if redis is not None:
        own.append(_own("this service: online lookup in Redis, log", *predict, MLOPS_REDIS=redis))
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
    return Server(name, port, path, bodies, serve_command(settings), environment)


def shortcuts(notes: dict[str, Any]) -> list[Server]:
    """Return the full service, then the service without each of its shortcuts."""
    model = str(HOME / "model.joblib")
    return [
        _own("full", "/score", notes["score"]),
        *(
            _variant(label, "variants:Predictor", notes, BENCH_WITHOUT=name, BENCH_MODEL=model)
            for name, label in SHORTCUTS.items()
        ),
    ]


def fronts(notes: dict[str, Any]) -> list[Server]:
    """Return the service, then its scoring behind the fronts of tests/bench/serving/fronts.py."""
    return [
        _own("an ASGI application of our own", "/score", notes["score"]),
        _variant("FastAPI, mounted by `bentoml.asgi_app`", "fronts:FastapiFront", notes),
        _variant("BentoML's `@api`", "fronts:BentomlApi", notes),
    ]


def _variant(name: str, service: str, notes: dict[str, Any], **variables: str) -> Server:
    """Return a server of another BentoML service, in a module of this folder."""
    own = _own(name, "/score", notes["score"])
    changed = {"serving.service:Predictor": service, str(CODE): str(HERE)}
    command = [changed.get(part, part) for part in own.command]
    environment = {**own.environment, **variables, "PYTHONPATH": str(ROOT)}
    return replace(own, command=command, environment=environment)


def previous(notes: dict[str, Any]) -> list[Server]:
    """Return the service, then v0.1's: its code, its own home, its own models and rows."""
    code = HOME / "v0.1"
    if not code.exists():
        code.mkdir(parents=True)
        packed = subprocess.run(
            ["git", "archive", V01], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )  # fmt: skip
        subprocess.run(["tar", "-x", "-C", str(code)], input=packed.stdout, check=True)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLOPS_")}
    environment = {**inherited, "PYTHONPATH": str(code)}
    described = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DESCRIBE_V01], cwd=code, env=environment,
        stdout=subprocess.PIPE, check=True,
    ).stdout.splitlines()[-1]  # fmt: skip
    old = Server(**json.loads(described))
    old = replace(old, name="v0.1", environment=old.environment | {"PYTHONPATH": str(code)})
    return [_own("today", "/score", notes["score"]), old]


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
