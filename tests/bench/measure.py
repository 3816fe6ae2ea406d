"""Compare two functions by CPU time, and describe the machine.

The two functions take turns and only CPU time counts, so other load on the machine disturbs little.
The printed result is their ratio over the repeats. No benchmark asserts it.
"""

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
    """Return the processor, its cores and load, and the versions of the tools."""
    with open("/proc/cpuinfo") as lines:
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    tools = ", ".join(f"{tool} {version(tool)}" for tool in TOOLS)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {models[0] if models else platform.machine()}, "
        f"{os.cpu_count()} cores, load {load}; Python {platform.python_version()}; {tools}."
    )


def cpu_seconds(run: Callable[[], object]) -> float:
    """Return the CPU time of `run` in this process and its ended children, to 0.01 s."""
    before = os.times()
    run()
    return sum(os.times()[:4]) - sum(before[:4])


def seconds(run: Callable[[], object]) -> float:
    """Return the CPU time of `run` in this process, with high resolution."""
    started = time.process_time()
    run()
    return time.process_time() - started


def compare(
    what: str, slow: Callable[[], object], fast: Callable[[], object], *,
    repeats: int = 5, clock: Callable[[Callable[[], object]], float] = seconds,
) -> None:  # fmt: skip
    """Print the ratio of `slow` to `fast` over the repeats, and the median of each."""
    pairs = [(clock(slow), clock(fast)) for _ in range(repeats)]
    low, middle, high = spread([one / other for one, other in pairs])
    first, second = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"- {what}: {middle:.3g} times (min {low:.3g}, max {high:.3g}, {repeats} repeats); "
        f"medians {format_duration(first)} and {format_duration(second)}"
    )


def spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def format_duration(duration: float) -> str:
    """Format seconds in the unit that leaves one to three digits before the point."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if duration * scale >= 1:
            return f"{duration * scale:.3g} {unit}"
    return f"{duration * 1e9:.3g} ns"


if __name__ == "__main__":
    print(f"# What was measured\n\nWritten by `make bench`.\n\n{machine()}")
