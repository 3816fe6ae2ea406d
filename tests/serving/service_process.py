"""The service as in production: a child process that follows a release document."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psutil
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from serving.command import serve_command, serve_environment
from serving.models.evaluator import export_model
from serving.release.document import Challenger, Release, ServedModel, read_release, write_release
from settings import Settings
from tests.serving.in_process import example_request, fitted_pipeline

ROOT = Path(__file__).parents[2]
APPLY = (
    "import settings; from features.feast_store import apply_definitions;"
    "apply_definitions(settings.load_settings())"
)


def hash_tokens(*clients: str) -> str:
    """Return the setting of tokens with which each client may predict; its name is its token."""
    return ",".join(f"predict:{sha256(name.encode()).hexdigest()}:{name}" for name in clients)


@contextmanager
def served(home: Path, **variables: str) -> Iterator["Service"]:
    """Yield a service that has released a model."""
    service = Service(home, **variables)
    try:
        service.wait("/livez", lambda response: True)
        service.release("1")
        yield service
    finally:
        service.stop()


class Service:
    """The service in a child process, and its release document."""

    def __init__(self, home: Path, **variables: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.settings = Settings(home=home, service_port=free.getsockname()[1])
        self.environment = os.environ | serve_environment(self.settings) | variables
        self.generation = 0
        self.exported: dict[str, tuple[Path, str]] = {}  # folder and digest, by version
        self.log = self.settings.predictions
        subprocess.run([sys.executable, "-c", APPLY], cwd=ROOT, env=self.environment, check=True)
        self.output = (home / "service.log").open("w")
        self.process = subprocess.Popen(
            serve_command(self.settings), env=self.environment, cwd=home,
            stdout=self.output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.client = httpx.Client(base_url=self.settings.service_url, timeout=10)

    def wait(self, path: str, holds: Any, seconds: float = 60) -> httpx.Response:
        """Return the first response to GET `path` for which `holds(response)`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, Path(self.output.name).read_text()
            try:
                response = self.client.get(path)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if holds(response):
                return response
            time.sleep(0.02)
        raise AssertionError(f"{path} did not respond as expected within {seconds} s")

    def release(self, version: str, model: Pipeline | None = None) -> Path:
        """Release `model` (by default one fitted on random rows) and wait until it is served."""
        folder = self.settings.state / "models" / version
        digest = export_model(
            model or fitted_pipeline(HistGradientBoostingClassifier(max_iter=5)), folder
        )
        self.exported[version] = folder, digest
        self.swap(version)
        return folder

    def swap(self, version: str) -> None:
        """Release an exported version and wait until it is served."""
        _, digest = self.exported[version]
        self.generation += 1
        champion = ServedModel(version, digest, f"../models/{version}", 0.5)
        write_release(self.settings, Release(self.generation, champion, datetime.now(UTC)))
        self.wait("/release", lambda r: r.json()["generation"] == self.generation)

    def challenge(self, challenger: ServedModel, stage: Any, percent: float = 0) -> None:
        """Add an exported challenger to the release and wait until the service has it."""
        current = read_release(self.settings)
        assert current is not None
        self.generation += 1
        now = datetime.now(UTC)
        second = Challenger(challenger, stage, percent, now)
        release = Release(self.generation, current.champion, now, second)
        write_release(self.settings, release)
        self.wait("/release", lambda r: r.json()["generation"] == self.generation)

    def worker(self) -> psutil.Process:
        """Return the worker process. If it ends, the supervisor starts another one."""
        [child] = psutil.Process(self.process.pid).children()
        return child

    def predict(self, body: Any = None, **options: Any) -> httpx.Response:
        return self.client.post(
            "/predict", json=example_request() if body is None else body, **options
        )

    def stop(self) -> None:
        """End the service if it still runs. The supervisor gets SIGTERM and ends its worker."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        self.client.close()
        self.output.close()
