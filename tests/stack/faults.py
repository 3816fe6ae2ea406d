"""The faults of `make chaos`. Each returns what recovered, and how fast."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.stack.project import WITHIN, Stack, request_training, wait_for_state

KILLED_RELEASES = Path(__file__).parents[1] / "killed.py"
HELD = 8.0  # seconds of a pause or a cut
METRICS = "from urllib.request import urlopen as ask; print(ask('http://127.0.0.1:3000/metrics').read().decode())"


def kill_fault(service: str) -> Callable[[Stack], str]:
    """Return a fault that kills a container's first process; its restart policy restarts it."""

    def fault(stack: Stack) -> str:
        name = stack.container(service)
        before = stack.docker("inspect", "--format", "{{.State.Pid}}", name).strip()
        if os.geteuid() == 0 and Path(f"/proc/{before}").exists():
            os.kill(int(before), 9)
            how = "came back by its restart policy"
        else:  # the engine runs in another machine, and does not restart what it killed itself
            stack.docker("kill", name)
            stack.docker("start", name)
            how = "started again"
        started = time.monotonic()
        deadline = started + WITHIN
        while time.monotonic() < deadline:
            now = stack.docker("inspect", "--format", "{{.State.Pid}}", name).strip()
            if now not in (before, "0"):
                break
            time.sleep(0.2)
        stack.healthy(service)
        return f"{how}, healthy after {time.monotonic() - started:.0f} s"

    return fault


def redis_paused(stack: Stack) -> str:
    stack.compose("pause", "redis")
    time.sleep(HELD)
    stack.compose("unpause", "redis")
    stack.healthy("redis")
    return f"paused for {HELD:.0f} s"


def redis_cut_off(stack: Stack) -> str:
    name = stack.container("redis")
    form = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"
    network = stack.docker("inspect", "--format", form, name).strip()
    stack.docker("network", "disconnect", network, name)
    time.sleep(HELD)
    stack.docker("network", "connect", "--alias", "redis", network, name)
    stack.healthy("redis")
    return f"cut off for {HELD:.0f} s"


# From the worker: so many clients inside Postgres's container exceed its limit of processes before
# Postgres is full.
CONNECTED = f"""
import os, time
import psycopg, sqlalchemy
url = sqlalchemy.make_url(os.environ["MLOPS_FEAST_REGISTRY"])
held, refused = [], 0
for _ in range(250):
    try:
        held.append(psycopg.connect(
            host=url.host, user=url.username, password=url.password, dbname=url.database,
            connect_timeout=10,
        ))
    except psycopg.OperationalError:
        refused += 1
time.sleep({HELD})
print(len(held), refused)
"""


def postgres_full(stack: Stack) -> str:
    """Take all connections for a while with idle sessions."""
    output = stack.compose("exec", "-T", "worker", "python", "-c", CONNECTED)
    held, refused = map(int, output.split())
    assert refused, f"Postgres took {held} connections and refused none"
    for service in ("postgres", "mlflow", "prefect", "worker"):
        stack.healthy(service)
    return f"{held} connections held until {refused} were refused; given back after {HELD:.0f} s"


def log_full(stack: Stack) -> str:
    """Start one more replica, whose log is on a disk that fills up."""
    volume = "chaos-full-log"
    name = f"{volume}-replica"
    stack.docker(
        "volume", "create", "--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs",
        "--opt", "o=size=64k,uid=1000,gid=1000", volume,
    )  # fmt: skip
    try:
        stack.compose(
            "run", "--detach", "--no-deps", "--use-aliases", "--name", name,
            "--volume", f"{volume}:/predictions", "api",
        )  # fmt: skip
        stack.docker("exec", name, "sh", "-c", "head -c 40000 /dev/zero > /predictions/filler")
        stack.container_healthy(name)
        time.sleep(20)  # it answers its share of the requests, and its disk fills up
        metrics = stack.docker("exec", name, "python", "-c", METRICS)
        # Its acknowledged predictions are on its own disk. Copy them, as an operator does.
        segment = stack.docker("exec", name, "sh", "-c", "ls /predictions/*.jsonl").strip()
        lines = stack.docker("exec", name, "cat", segment)
        stack.compose("exec", "-T", "worker", "sh", "-c", f"cat > {segment}", stdin=lines)
    finally:
        stack.docker("rm", "--force", name)
        stack.docker("volume", "rm", volume)
    [refused] = re.findall(r"^predictions_not_logged_total(?:{.*})? (\S+)$", metrics, re.MULTILINE)
    assert float(refused) > 0, "the replica's disk never filled up"
    return (
        f"the full replica refused {float(refused):.0f}, another answered; its log was brought over"
    )


def worker_killed_in_training(stack: Stack) -> str:
    """Kill the worker in a training: the run ends, and the next training succeeds."""
    first = request_training(stack)
    wait_for_state(stack, first, {"RUNNING"})
    time.sleep(10)  # until a stage runs
    recovered = kill_fault("worker")(stack)
    ended = wait_for_state(stack, first, {"CRASHED", "FAILED", "CANCELLED"})
    return f"{recovered}; the training {ended.lower()}; {train_to_completion(stack)}"


def controller_killed(stack: Stack) -> str:
    """Kill the release command at each step of its writes; the next command completes it."""
    return stack.in_loop(KILLED_RELEASES)


def train_to_completion(stack: Stack) -> str:
    """Request a training from the worker and wait until it is completed."""
    started = time.monotonic()
    wait_for_state(stack, request_training(stack), {"COMPLETED"})
    return f"the next one ran through in {time.monotonic() - started:.0f} s"


FAULTS: dict[str, Callable[[Stack], str]] = {
    "kill -9 of an api replica": kill_fault("api"),
    "kill -9 of Redis": kill_fault("redis"),
    "Redis paused": redis_paused,
    "network cut between api and Redis": redis_cut_off,
    "kill -9 of Postgres": kill_fault("postgres"),
    "Postgres full of connections": postgres_full,
    "kill -9 of MLflow": kill_fault("mlflow"),
    "kill -9 of Prefect's server": kill_fault("prefect"),
    "a replica's log disk full": log_full,
    "kill -9 of a controller at each of its steps": controller_killed,
    "kill -9 of the worker in a training": worker_killed_in_training,
}
