"""What does a thousand predictions cost? CPU time that the service spent on them, at its price.

Prometheus computes the same over an hour (`serving_cost_per_1000` in monitoring/stack/rules.yml).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SampleSums = Mapping[str, float]  # name → sum over all labels


@dataclass(frozen=True)
class ServingCost:
    """Since the process is ready. `per_1000` is in the currency of the price."""

    predictions: int
    cpu_ms: float  # of one prediction; all else that the process did is in it, too
    per_1000: float


def serving_cost(samples: SampleSums, price_per_cpu_hour: float) -> ServingCost | None:
    """From what one process tells of itself; None while it has predicted nothing."""
    predictions = samples["predictions_total"]
    if not predictions:
        return None
    spent = samples["process_cpu_seconds_total"] - samples["service_ready_cpu_seconds"]
    each = spent / predictions
    return ServingCost(int(predictions), 1000 * each, 1000 * each / 3600 * price_per_cpu_hour)


def sum_samples(page: str) -> dict[str, float]:
    """The samples of a page of metrics in Prometheus' format, summed over their labels."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found
