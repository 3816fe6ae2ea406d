"""The platform in a served replay: time of each simulated day, flow runs, delays and refusals.

Time depends on the machine and its load, so it is stored apart from the days' records.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from features import durable_files
from pipelines.runtime import child_processes
from settings import Settings

FAILED_STATES = ("FAILED", "CRASHED")


class Meter:
    """Seconds since the last line; CPU seconds of this process, and of our servers by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stages: dict[str, dict[str, float]] = {}
        self._began, self._cpu = time.monotonic(), _cpu_by_process(settings)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the block's time to the stage `name` of the current line."""
        began, cpu = time.monotonic(), sum(_cpu_by_process(self._settings).values())
        try:
            yield
        finally:
            spent = self._stages.setdefault(name, {"seconds": 0.0, "cpu": 0.0})
            spent["seconds"] += time.monotonic() - began
            spent["cpu"] += sum(_cpu_by_process(self._settings).values()) - cpu

    def close(self, name: str) -> dict[str, Any]:
        """Write the line `name` (a day) and start the next one; return the line."""
        now, cpu = time.monotonic(), _cpu_by_process(self._settings)
        line = {
            "name": name, "seconds": now - self._began, "stages": self._stages,
            "cpu": {each: cpu[each] - self._cpu.get(each, 0.0) for each in cpu},
        }  # fmt: skip
        path = meter_path(self._settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        self._began, self._cpu, self._stages = now, cpu, {}
        return line


def flow_run_counts_path(settings: Settings) -> Path:
    """Return the file with the number of flow runs by state, which Prefect's server knows."""
    return settings.state / "replay" / "runs.json"


def meter_path(settings: Settings) -> Path:
    """Return the file with the meter's lines. A day run twice has two lines, and both count."""
    return settings.state / "replay" / "meter.jsonl"


def platform_figures(settings: Settings, days: pd.DataFrame) -> dict[str, Any]:
    """Return figures from the records of `days` and the meter's lines of the home `settings`.

    `days_to_promotion`: simulated days from each trigger to its version as champion. CPU is in
    seconds of this machine; the service's is that of the days, without its start.
    """
    lines = durable_files.read_json_lines(meter_path(settings))
    spent = [line for line in lines if line["name"] in set(days["day"])]
    runs: dict[str, int] = durable_files.read_json(flow_run_counts_path(settings)) or {}
    cpu: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    for line in spent:
        cpu.update(line["cpu"])
        stages.update({name: each["cpu"] for name, each in line["stages"].items()})
    n, n_days = int(days["n"].sum()), len({line["name"] for line in spent})
    return {
        "days_to_promotion": days_to_promotion(days), "days": len(days), "predictions": n,
        "runs": sum(runs.values()), "failed": sum(runs.get(kind, 0) for kind in FAILED_STATES),
        "service_ms": 1000 * cpu["service"] / n if n else None,
        "seconds_a_day": sum(line["seconds"] for line in spent) / n_days if n_days else None,
        "cpu_a_day": {name: each / n_days for name, each in cpu.items()},
        "stage_a_day": {name: each / n_days for name, each in stages.items()},
        "refusals": count_gate_refusals(days), "steps": count_rollout_steps(days),
    }  # fmt: skip


def days_to_promotion(days: pd.DataFrame) -> list[int]:
    """Return the days from training to promotion, for each version that became champion."""
    day = pd.to_datetime(days["day"])
    # A day's release comes before its training.
    trained = day.where(days["trained"] > 0).ffill().shift()
    return [int(wait.days) for wait in (day - trained)[days["released"] > 0].dropna()]


def count_gate_refusals(days: pd.DataFrame) -> dict[str, int]:
    """Count the trainings that each gate refused; several gates may refuse one."""
    return dict(Counter(
        each["gate"] for day in days["verdicts"] for each in day if not each["passed"]
    ).most_common())  # fmt: skip


def count_rollout_steps(days: pd.DataFrame) -> dict[str, int]:
    """Count how often a challenger was advanced, promoted or withdrawn."""
    steps = [step for text in days["rollout"] for step in text.split("; ")]
    actions = [step.partition(":")[0] for step in steps]
    return {action: actions.count(action) for action in ("advance", "promote", "withdraw")}


def format_figures(figures: dict[str, Any], agreement: str) -> list[tuple[str, str]]:
    """Return the figures as texts by name; `agreement` is that of the fast replay's days."""
    waits, steps = figures["days_to_promotion"], figures["steps"]
    waited = f"{min(waits)} to {max(waits)} days in {len(waits)} releases" if waits else "none yet"
    gates = ", ".join(f"{name}: {n}" for name, n in figures["refusals"].items()) or "none"
    return [
        ("From trigger to full traffic, simulated", waited),
        ("Shadow passed, canary passed, withdrawn",
         f"{steps['advance']}, {steps['promote']}, {steps['withdraw']}"),
        ("Trainings refused, by gate", gates),
        ("Days on which the fast replay differs", agreement),
        ("Flow runs, and failed or crashed ones",
         f"{figures['runs']:,}, {figures['failed']:,}"),
        *format_times(figures),
    ]  # fmt: skip


def format_times(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a simulated day's times as texts by name: wall clock, CPU by process and stage."""
    cpu = sum(figures["cpu_a_day"].values()) if figures["cpu_a_day"] else None
    return [
        ("CPU of the service per prediction", _format(figures["service_ms"], "ms")),
        ("A simulated day, wall clock", _format(figures["seconds_a_day"], "s")),
        ("CPU of a day", _format(cpu, "s")),
        *((f"CPU of a day, {name}", _format(each, "s"))
          for part in ("cpu_a_day", "stage_a_day") for name, each in figures[part].items()),
    ]  # fmt: skip


def _format(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.2f} {unit}"


def _cpu_by_process(settings: Settings) -> dict[str, float]:
    """Return CPU seconds so far by process, with those of ended descendants."""
    # The children of this process are the servers, which are counted by name.
    spent = {"replay": _cpu(psutil.Process())}
    for record in child_processes.read_child_records(settings):
        if record.pid is not None:
            with suppress(psutil.NoSuchProcess):
                server = psutil.Process(record.pid)
                spent[record.name] = sum(map(_cpu, [server, *server.children(recursive=True)]))
    return spent


def _cpu(process: psutil.Process) -> float:
    """Return user and system time, its own and that of its ended children."""
    with suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:4]))
    return 0.0
