"""Time spent on each simulated day: wall clock by stage, CPU by stage and by process.

It depends on the machine and its load, so it is stored apart from the days' records.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from features import durable_files
from pipelines.runtime import child_processes
from settings import Settings


class Meter:
    """Seconds since the last line; CPU seconds of this process, and of our servers by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._path = settings, meter_path(settings)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._stages: dict[str, dict[str, float]] = {}
        self._began, self._cpu = time.monotonic(), _by_process(settings)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the block's time to the stage `name` of the current line."""
        began, cpu = time.monotonic(), sum(_by_process(self._settings).values())
        try:
            yield
        finally:
            spent = self._stages.setdefault(name, {"seconds": 0.0, "cpu": 0.0})
            spent["seconds"] += time.monotonic() - began
            spent["cpu"] += sum(_by_process(self._settings).values()) - cpu

    def close(self, name: str) -> dict[str, Any]:
        """Write the line `name` (a day) and start the next one; return the line."""
        now, cpu = time.monotonic(), _by_process(self._settings)
        line = {
            "name": name, "seconds": now - self._began, "stages": self._stages,
            "cpu": {each: cpu[each] - self._cpu.get(each, 0.0) for each in cpu},
        }  # fmt: skip
        with self._path.open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        self._began, self._cpu, self._stages = now, cpu, {}
        return line

    def write_flow_run_counts(self, counts: Mapping[str, int]) -> None:
        """Write the number of flow runs by state, which only Prefect's server knows."""
        durable_files.write_json(flow_run_counts_path(self._settings), dict(counts))


def flow_run_counts_path(settings: Settings) -> Path:
    return settings.var / "replay" / "runs.json"


def meter_path(settings: Settings) -> Path:
    return settings.var / "replay" / "meter.jsonl"


def read_meter_lines(settings: Settings) -> list[dict[str, Any]]:
    """Return the lines, empty without a replay. A day run twice has two lines, and both count."""
    return durable_files.read_json_lines(meter_path(settings))


def _by_process(settings: Settings) -> dict[str, float]:
    """Return CPU seconds so far by process, with those of ended descendants."""
    pids: Mapping[str, int | None] = {
        "replay": psutil.Process().pid,
        **{record.name: record.pid for record in child_processes.read_child_records(settings)},
    }
    return {name: _cpu(pid) for name, pid in pids.items() if pid is not None}


def _cpu(pid: int) -> float:
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        own = pid == psutil.Process().pid  # its children are the servers, which are counted by name
        for each in [process, *([] if own else process.children(recursive=True))]:
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total
