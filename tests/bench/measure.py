"""How long does one way take as a multiple of the other, and on which machine was that?

The two take turns, and CPU time is what counts, so that a machine that is busy with other things
disturbs little; what is told is their ratio over the repeats, and never asserted.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version

TOOLS = (
    "bentoml", "duckdb", "evidently", "feast", "great-expectations", "mlflow", "numpy", "pandas",
    "prefect", "scikit-learn", "treelite",
)  # fmt: skip


def machine() -> str:
    """The processor, its cores and load, and the versions of what was measured."""
    with open("/proc/cpuinfo") as told:
        models = [line.split(":")[1].strip() for line in told if line.startswith("model name")]
    tools = ", ".join(f"{tool} {version(tool)}" for tool in TOOLS)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {models[0] if models else platform.machine()}, "
        f"{os.cpu_count()} cores, load {load}; Python {platform.python_version()}; {tools}."
    )


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU time of this process and its ended children in `run`, to a hundredth of a second."""
    before = os.times()
    run()
    return sum(os.times()[:4]) - sum(before[:4])


def seconds(run: Callable[[], object]) -> float:
    """CPU time of this process in `run`, finely."""
    started = time.process_time()
    run()
    return time.process_time() - started


def compare(
    what: str, slow: Callable[[], object], fast: Callable[[], object], *,
    repeats: int = 5, clock: Callable[[Callable[[], object]], float] = seconds,
) -> None:  # fmt: skip
    """Prints a line: how often `fast` fits into `slow`, and the median of each."""
    pairs = [(clock(slow), clock(fast)) for _ in range(repeats)]
    low, middle, high = spread([one / other for one, other in pairs])
    first, second = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"- {what}: {middle:.3g} times (min {low:.3g}, max {high:.3g}, {repeats} repeats); "
        f"medians {told(first)} and {told(second)}"
    )


def spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def told(duration: float) -> str:
    """In the unit in which it has one to three digits before the point."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if duration * scale >= 1:
            return f"{duration * scale:.3g} {unit}"
    return f"{duration * 1e9:.3g} ns"


if __name__ == "__main__":
    print(f"# What was measured\n\nWritten by `make bench`.\n\n{machine()}")
