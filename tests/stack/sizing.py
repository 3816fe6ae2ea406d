"""What does a prediction cost the running stack, and what do its parts hold? `make sizing`.

The basis of the table in docs/stack.md: CPU, disk and memory, as the containers' own accounts have
them. CPU per prediction is steadier than requests per second on a machine that does other work.
"""

from __future__ import annotations

import time
from datetime import date

from tests.stack.load import Load, cases
from tests.stack.project import Stack

SECONDS = 20.0
CPU = (
    "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null || "
    "awk '/usage_usec/ {print $2 * 1000}' /sys/fs/cgroup/cpu.stat"
)
VOLUMES = {
    "prediction log": ("watch", "/predictions"),
    "training data, models, reports": ("watch", "/state"),
    "DVC remote": ("watch", "/dvc-remote"),
    "artefacts of MLflow": ("mlflow", "/artefacts"),
    "Redis": ("redis", "/data"),
    "Postgres": ("postgres", "/var/lib/postgresql/data"),
}


def cpu_seconds(stack: Stack, service: str) -> float:
    """Of the container since it started."""
    return int(float(stack.compose("exec", "-T", service, "sh", "-c", CPU))) / 1e9


def per_prediction(stack: Stack) -> dict[str, float]:
    """CPU milliseconds of each service on the way, per answered request."""
    services = ("api", "proxy", "redis")
    with Load(
        stack.address("proxy", 8080), cases(date(2013, 4, 1)), stack.token(), pause=0.0
    ) as load:
        load.await_good(time.monotonic(), 60)
        before = {each: cpu_seconds(stack, each) for each in services}
        done = len(load.acknowledged)
        time.sleep(SECONDS)
        answered = len(load.acknowledged) - done
        spent = {each: cpu_seconds(stack, each) - before[each] for each in services}
    return {each: 1000 * spent[each] / answered for each in services}


def main() -> None:
    stack = Stack()
    for service, milliseconds in per_prediction(stack).items():
        print(f"{service}: {milliseconds:.2f} ms of CPU per prediction")
    logged = len(stack.state()["logged"])
    for what, (service, folder) in VOLUMES.items():
        size = int(stack.compose("exec", "-T", service, "du", "-sk", folder).split()[0])
        each = f", {1024 * size / logged:,.0f} bytes a prediction" if "log" in what else ""
        print(f"{what}: {size / 1024:,.1f} MB{each}")
    form = "{{.Name}}: {{.MemUsage}}"
    print(stack.docker("stats", "--no-stream", "--format", form, *stack.containers()))


if __name__ == "__main__":
    main()
