"""The running stack for the tests and `make chaos`: containers, flow runs, stored state."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.use_case import USE_CASE

WITHIN = 180.0  # seconds until a part must be healthy again
STATE = Path(__file__).with_name("state.py")
ROOT = Path(__file__).parents[2]


class Stack:
    """The Compose project of `environment`, by default that of this folder."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {**os.environ, **(environment or {})}

    def with_variables(self, **variables: str) -> Stack:
        """Return the same stack with these variables changed."""
        return Stack({**self._environment, **variables})

    def compose(self, *command: str, stdin: str | None = None) -> str:
        return self._run(["docker", "compose", *command], stdin)

    def docker(self, *command: str) -> str:
        return self._run(["docker", *command], None)

    def container(self, service: str) -> str:
        return self.compose("ps", "--all", "--quiet", service).split()[0]

    def containers(self) -> list[str]:
        return self.compose("ps", "--quiet").split()

    def address(self, service: str, port: int) -> str:
        return "http://" + self.compose("port", service, str(port)).strip()

    def token(self) -> str:
        """Return the loop's token for the service."""
        return self.compose("exec", "-T", "worker", "printenv", "MLOPS_TOKEN").strip()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.in_loop(STATE))
        return found

    def in_loop(self, script: Path) -> str:
        """Run a test script in a container of the loop; return its last line of output."""
        output = self.compose(
            "run", "--rm", "-T", "--no-deps", "loop", "python", "-W", "ignore", "-",
            stdin=script.read_text(),
        )  # fmt: skip
        return output.strip().splitlines()[-1]

    def healthy(self, service: str, timeout: float = WITHIN) -> None:
        """Wait until every container of `service` is healthy."""
        self._until_healthy(lambda: self.compose("ps", "--quiet", service).split(), timeout)

    def container_healthy(self, name: str) -> None:
        """Wait until this container is healthy."""
        self._until_healthy(lambda: [name], WITHIN)

    def _until_healthy(self, names: Callable[[], list[str]], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            states = {name: self._health(name) for name in names()}
            if states and set(states.values()) == {"healthy"}:
                return
            time.sleep(0.5)
        raise AssertionError(f"not healthy again: {states}")

    def _health(self, name: str) -> str:
        return self.docker("inspect", "--format", "{{.State.Health.Status}}", name).strip()

    def _run(self, command: list[str], stdin: str | None) -> str:
        run = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT,
            env=self._environment,
        )  # fmt: skip
        if run.returncode:
            raise AssertionError(f"{' '.join(command)}: {run.stderr[-2000:]}")
        return run.stdout


def request_training(stack: Stack) -> str:
    """Ingest up to two days after the newest training data, then request a training."""
    until = max(filter(None, stack.state()["data_until"].values()))
    as_of = datetime.fromisoformat(until) + timedelta(days=2)
    ingest = create_run(stack, "ingest", {"as_of": as_of.isoformat(), "online": False})
    wait_for_state(stack, ingest, {"COMPLETED"})
    return create_run(stack, "train", {"as_of": as_of.isoformat(), "reason": "chaos"})


def create_run(stack: Stack, flow: str, parameters: dict[str, Any]) -> str:
    url = stack.address("prefect", 4200) + "/api"
    found = httpx.get(f"{url}/deployments/name/{flow}/{USE_CASE.name}", timeout=30).json()
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    made = httpx.post(f"{url}/deployments/{found['id']}/create_flow_run", json=body, timeout=30)
    made.raise_for_status()
    return str(made.json()["id"])


def wait_for_state(stack: Stack, run_id: str, wanted: set[str], timeout: float = 600.0) -> str:
    url = f"{stack.address('prefect', 4200)}/api/flow_runs/{run_id}"
    ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    state, deadline = "unknown", time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            state = httpx.get(url, timeout=10).json()["state_type"]
        except (httpx.HTTPError, KeyError, ValueError):
            state = "unknown"  # the server may be the broken part
        if state in wanted:
            return str(state)
        if state in ended:
            break
        time.sleep(1)
    raise AssertionError(f"the run {run_id} is {state}, not {' or '.join(sorted(wanted))}")
