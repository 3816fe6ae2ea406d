"""Read the results of an evaluation: gate verdicts and metrics on the holdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from settings import Settings


def metric_lines(settings: Settings, training_id: str) -> Iterator[str]:
    """Yield a line per model with its metrics on the holdout."""
    models = json.loads(_evaluation(settings, training_id, "metrics.json").read_text())
    for name, metrics in models.items():
        yield (
            f"  {name}: AUC {metrics['auc']:.3f}, log-loss {metrics['log_loss']:.3f}, "
            f"cost per 1,000 {metrics['cost_per_1000']:.0f}"
        )


def count_gates(settings: Settings, training_id: str) -> tuple[int, int]:
    """Count the gates that passed, and all gates, over all candidates of a training."""
    result = json.loads(_evaluation(settings, training_id, "gates.json").read_text())
    verdicts = [each["passed"] for judged in result["verdicts"].values() for each in judged]
    return sum(verdicts), len(verdicts)


def _evaluation(settings: Settings, training_id: str, name: str) -> Path:
    return settings.var / "training" / training_id / "data" / "evaluation" / name
