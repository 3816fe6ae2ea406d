"""Reads what an evaluation left: verdicts of the gates and metrics on the holdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from settings import Settings


def metric_lines(settings: Settings, training_id: str) -> Iterator[str]:
    """A line per model: what it scored on the holdout."""
    measured = json.loads(_evaluation(settings, training_id, "metrics.json").read_text())
    for name, found in measured.items():
        yield (
            f"  {name}: AUC {found['auc']:.3f}, log-loss {found['log_loss']:.3f}, "
            f"cost per 1,000 {found['cost_per_1000']:.0f}"
        )


def count_gates(settings: Settings, training_id: str) -> tuple[int, int]:
    """(passed, judged) over all candidates of a training."""
    judged = json.loads(_evaluation(settings, training_id, "gates.json").read_text())
    verdicts = [each["passed"] for found in judged["verdicts"].values() for each in found]
    return sum(verdicts), len(verdicts)


def _evaluation(settings: Settings, training_id: str, name: str) -> Path:
    return settings.var / "training" / training_id / "data" / "evaluation" / name
