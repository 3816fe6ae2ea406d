"""The stack on a real engine, for `make test-stack`. Without an engine the tests fail."""

import json
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.stack import env, keys
from serving.release.keys import new_key_pair
from tests import slice_params
from tests.stack import project

ROOT = Path(__file__).parents[2]


def docker(*command: str, **environment: str) -> str:
    """Return the output of `docker ...`; fail the test with its output if it fails."""
    run = subprocess.run(
        ["docker", *command], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, f"docker {' '.join(command)}\n{run.stdout}\n{run.stderr}"
    return run.stdout


class Stack:
    """The services of docker-compose.yml with their own project name, secrets and ports."""

    def __init__(self, folder: Path, params: dict[str, Any] | None = None) -> None:
        self.secrets = folder / ".env"
        (folder / ".env.example").write_text((ROOT / ".env.example").read_text())
        env.write_env_file(folder)
        keys.write_pair(folder / "keys", "".join(pem.decode() for pem in new_key_pair()))
        self.environment = {
            "COMPOSE_PROJECT_NAME": f"test-{uuid.uuid4().hex[:8]}",
            "MLOPS_VERSION": "test",
            "MLOPS_COMMIT": "0123456789abcdef",
            "COMPOSE_FILE": os.pathsep.join(("docker-compose.yml", "tests/stack/slice.yml")),
            "COMPOSE_ENV_FILES": str(self.secrets),
            "COMPOSE_PROFILES": "staging",
            "MLOPS_STAGING_URL": "http://api-staging:3000",
            "MLOPS_KEYS": str(folder / "keys"),
            "SLICE": str(folder / "params.yaml"),
        }
        (folder / "params.yaml").write_text(yaml.safe_dump(params or slice_params.slice_params()))
        (folder / "params.yaml").chmod(0o644)
        for name in ("SERVICE", "STAGING", "PREFECT", "MLFLOW", "EVIDENTLY", "PROMETHEUS",
                     "ALERTMANAGER", "GRAFANA"):  # fmt: skip
            self.environment[f"MLOPS_{name}_PORT"] = str(free_port())

    def compose(self, *command: str) -> str:
        return docker("compose", "--env-file", str(self.secrets), *command, **self.environment)

    def config(self) -> dict[str, Any]:
        output = self.compose("--profile", "*", "config", "--format", "json")
        loaded: dict[str, Any] = json.loads(output)
        return loaded

    def url(self, name: str, path: str) -> str:
        return f"http://127.0.0.1:{self.environment[f'MLOPS_{name}_PORT']}{path}"


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        number: int = held.getsockname()[1]
        return number


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The configured stack; nothing is started."""
    return Stack(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="session")
def image(stack: Stack) -> str:
    """Build the image; return its name."""
    stack.compose("build", "api")
    return "mlops-loop:test"


@pytest.fixture(scope="session")
def running(stack: Stack, image: str) -> Iterator[Stack]:
    """All services up and healthy, on empty volumes."""
    try:
        stack.compose("up", "--detach", "--wait")
        yield stack
    finally:
        stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="session")
def turned(running: Stack) -> project.Stack:
    """The stack after one turn of the loop on a slice of days, as in `make run-stack`."""
    found = project.Stack(running.environment)
    print(found.compose("run", "--rm", "-T", "loop"))
    return found
