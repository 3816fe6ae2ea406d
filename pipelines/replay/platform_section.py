"""How did the platform itself do in a replay through the real service? A section of the report."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any

import pandas as pd

from features import durable_files
from monitoring.pages.layout import number_cells, render_table
from pipelines.replay import time_meter
from settings import Settings

FAILED_STATES = ("FAILED", "CRASHED")


def platform_figures(settings: Settings, days: pd.DataFrame) -> dict[str, Any]:
    """From the records of `days`, and from what was measured beside them in the home `settings`.

    `days_to_promotion`: simulated days from a trigger to its version as champion, a number each.
    CPU is of this machine, in seconds; that of the service is of the days, and not of its start.
    """
    lines = time_meter.read_meter_lines(settings)
    wanted = set(days["day"])
    spent = [line for line in lines if line["name"] in wanted]
    path = time_meter.flow_run_counts_path(settings)
    runs: dict[str, int] = durable_files.read_json(path) or {}
    cpu: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    for line in spent:
        cpu.update(line["cpu"])
        stages.update({name: each["cpu"] for name, each in line["stages"].items()})
    n = int(days["n"].sum())
    lived = len({line["name"] for line in spent})
    return {
        "to_full_traffic": days_to_promotion(days), "days": len(days), "predictions": n,
        "runs": sum(runs.values()), "failed": sum(runs.get(kind, 0) for kind in FAILED_STATES),
        "service_ms": 1000 * cpu["service"] / n if n else None,
        "seconds_a_day": sum(line["seconds"] for line in spent) / lived if lived else None,
        "cpu_a_day": {name: each / lived for name, each in cpu.items()},
        "stage_a_day": {name: each / lived for name, each in stages.items()},
        "refused": count_gate_refusals(days), "verdicts": count_rollout_steps(days),
    }  # fmt: skip


def days_to_promotion(days: pd.DataFrame) -> list[int]:
    """Days from the training of each version that became champion to its promotion."""
    found, asked = [], None
    for _, day in days.iterrows():
        if day["released"] and asked is not None:
            found.append((pd.Timestamp(day["day"]) - asked).days)
        if day["trained"]:
            asked = pd.Timestamp(day["day"])
    return found


def count_gate_refusals(days: pd.DataFrame) -> dict[str, int]:
    """How many trainings each gate refused; one may be refused by several."""
    return dict(Counter(
        each["gate"] for day in days["verdicts"] for each in day if not each["passed"]
    ).most_common())  # fmt: skip


def count_rollout_steps(days: pd.DataFrame) -> dict[str, int]:
    """How often a challenger was moved on, promoted or withdrawn."""
    steps = [step for told in days["rollout"] for step in told.split("; ")]
    named = [step.partition(":")[0] for step in steps]
    return {name: named.count(name) for name in ("advance", "promote", "withdraw")}


def render_platform_section(found: dict[str, Any]) -> str:
    """The figures as a table, in HTML; `otherwise` tells how the fast replay's days differ."""
    waits = found["to_full_traffic"]
    moved = found["verdicts"]
    waited = f"{min(waits)} to {max(waits)} days of {len(waits)} releases" if waits else "none yet"
    gates = ", ".join(f"{name}: {n}" for name, n in found["refused"].items()) or "none"
    rows = [
        ("From trigger to full traffic, simulated", waited),
        ("Shadow passed, canary passed, withdrawn",
         f"{moved['advance']}, {moved['promote']}, {moved['withdraw']}"),
        ("Trainings refused, by gate", gates),
        ("Days on which the fast replay says otherwise", found["otherwise"]),
        ("Runs of flows, and of them failed or crashed",
         f"{found['runs']:,}, {found['failed']:,}"),
        ("CPU of the service for a prediction", _told(found["service_ms"], "ms")),
        ("A simulated day, wall clock", _told(found["seconds_a_day"], "s")),
        *((f"CPU of a day, {name}", _told(each, "s"))
          for part in ("cpu_a_day", "stage_a_day") for name, each in found[part].items()),
    ]  # fmt: skip
    lines = [f"<tr><th>{escape(name)}</th>{number_cells([value])}</tr>" for name, value in rows]
    told = f"{found['days']} days and {found['predictions']:,} predictions over HTTP"
    return f'<p class="soft">{told}.</p>' + render_table(["figure", "*value"], lines)


def format_time_spent(found: dict[str, Any]) -> str:
    """Where the time of a simulated day went, in a line: wall clock, and CPU in two ways."""
    if found["seconds_a_day"] is None:
        return "No day was measured."
    parts, stages = (
        ", ".join(f"{name} {each:.1f}" for name, each in Counter(found[of]).most_common())
        for of in ("cpu_a_day", "stage_a_day")
    )
    cpu = sum(found["cpu_a_day"].values())
    return (
        f"A simulated day: {found['seconds_a_day']:.1f} s, CPU {cpu:.1f} s ({parts}), "
        f"by stage {stages}."
    )


def _told(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.2f} {unit}"
