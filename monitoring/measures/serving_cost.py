"""Cost of a thousand predictions: the service's CPU time at its price.

Prometheus computes the same over an hour (`serving_cost_per_1000` in monitoring/stack/rules.yml).
"""

from collections.abc import Mapping
from dataclasses import dataclass

SampleSums = Mapping[str, float]  # name → sum over all labels


@dataclass(frozen=True)
class ServingCost:
    """Cost since the process is ready. `per_1000` is in the currency of the price."""

    predictions: int
    cpu_ms: float  # per prediction; includes all other work of the process
    per_1000: float


def serving_cost(samples: SampleSums, price_per_cpu_hour: float) -> ServingCost | None:
    """Return the cost from the samples of one process; None without a prediction."""
    predictions = samples["predictions_total"]
    if not predictions:
        return None
    spent = samples["process_cpu_seconds_total"] - samples["service_ready_cpu_seconds"]
    seconds = spent / predictions
    per_1000 = 1000 * seconds / 3600 * price_per_cpu_hour
    return ServingCost(int(predictions), 1000 * seconds, per_1000)


def sum_samples(page: str) -> dict[str, float]:
    """Return the samples of a page in Prometheus' format, summed over their labels."""
    from prometheus_client.parser import text_string_to_metric_families

    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums
