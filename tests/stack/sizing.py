"""Measure CPU per prediction, disk, memory and image size of the running stack (`make sizing`).

The table in docs/stack.md comes from here. The numbers are the containers' own accounting. On a
busy machine CPU per prediction is steadier than requests per second.
"""

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
    """Return the CPU seconds of the container since its start."""
    return int(float(stack.compose("exec", "-T", service, "sh", "-c", CPU))) / 1e9


def per_prediction(stack: Stack) -> dict[str, float]:
    """Return the CPU milliseconds of each involved service per answered request."""
    services = ("api", "proxy", "redis")
    with Load(
        stack.address("proxy", 8080), cases(date(2013, 4, 1)), stack.token(), pause=0.0
    ) as load:
        load.wait_until_served(time.monotonic(), 60)
        before = {each: cpu_seconds(stack, each) for each in services}
        done = len(load.acknowledged)
        time.sleep(SECONDS)
        answered = len(load.acknowledged) - done
        spent = {each: cpu_seconds(stack, each) - before[each] for each in services}
    return {each: 1000 * spent[each] / answered for each in services}


def describe_image(stack: Stack) -> str:
    """Return the size of the image and of its largest packages as text."""
    name = stack.docker("inspect", "--format", "{{.Image}}", stack.container("api")).strip()
    size = int(stack.docker("image", "inspect", "--format", "{{.Size}}", name)) / 1e9
    largest = "cd /opt/venv/lib/python3.*/site-packages && du -sm -- * | sort -rn | head -12"
    found = [
        line.split()
        for line in stack.compose("exec", "-T", "api", "sh", "-c", largest).splitlines()
    ]
    sizes = ", ".join(f"{package} {megabytes}" for megabytes, package in found)
    return f"image: {size:.2f} GB; its largest packages, in MB: {sizes}"


def main() -> None:
    stack = Stack()
    print(describe_image(stack))
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
