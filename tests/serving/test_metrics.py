"""Does the service tell each number that is asked of it, and do they move?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.measures.serving_cost import serving_cost, sum_samples
from serving.release.document import Challenger, read_release, write_release
from settings import Settings
from tests.serving.in_process import (
    example_request,
    post_json,
    send_request,
    service_parts,
    shared_metrics,
)

Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page() -> Page:
    """(name, labels) → value."""
    from prometheus_client import generate_latest

    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest().decode())
        for sample in family.samples
    }


def now(name: str, **labels: str) -> float:
    return page().get((name, frozenset(labels.items())), 0.0)


def moved(before: Page, name: str, **labels: str) -> float:
    return now(name, **labels) - before.get((name, frozenset(labels.items())), 0.0)


def test_requests_and_their_latency_are_counted_by_route_and_outcome(tmp_path: Path) -> None:
    parts = service_parts(Settings(home=tmp_path))
    before = page()
    post_json(parts, "/predict", example_request())
    post_json(parts, "/predict", {})
    send_request(parts, "GET", "/nowhere")
    parts.close()
    assert moved(before, "service_requests_total", path="/predict", status="200") == 1
    assert moved(before, "service_requests_total", path="/predict", status="400") == 1
    for path, outcome in (("/predict", "answered"), ("/predict", "refused"), ("other", "refused")):
        assert moved(before, "service_request_seconds_count", path=path, outcome=outcome) == 1


def test_a_prediction_is_counted_with_its_score_its_features_and_its_fallback(
    tmp_path: Path,
) -> None:
    parts = service_parts(Settings(home=tmp_path))  # without an online store
    before = page()
    answer = post_json(parts, "/predict", example_request()).json()
    parts.close()
    assert answer["degraded"]
    decision = "yes" if answer["probability"] >= 0.5 else "no"
    assert (
        moved(before, "predictions_total", model_version="1", arm="champion", outcome=decision) == 1
    )
    assert moved(before, "prediction_probability_count", model_version="1", arm="champion") == 1
    assert moved(before, "scoring_seconds_count", model_version="1", arm="champion") == 1
    why = {"outcome": "fallback", "reason": "incomplete"}
    assert moved(before, "feature_lookups_total", **why) == 1
    assert sum(value - before.get(key, 0) for key, value in page().items()
               if key[0] == "unknown_categories_total") >= 1  # fmt: skip


def test_release_freeze_and_challenger_are_told(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    parts = service_parts(settings)
    first = read_release(settings.release_file)
    assert first is not None
    beside = Challenger(replace(first.champion, version="2"), "canary", 5, datetime.now(UTC))
    write_release(settings.release_file, replace(first, generation=2, challenger=beside))
    parts.models.refresh()
    canary = {"model_version": "2", "stage": "canary", "percent": "5", "loaded": "yes"}
    assert (now("release_generation"), now("release_frozen")) == (2, 0)
    assert now("release_challenger", **canary) == 1
    write_release(settings.release_file, replace(first, generation=3, frozen=True))
    parts.models.refresh()
    parts.close()
    assert now("release_frozen") == 1
    assert now("release_challenger", **canary) == 0


def test_a_prediction_has_a_price(tmp_path: Path) -> None:
    parts = service_parts(Settings(home=tmp_path))
    samples = sum_samples(send_request(parts, "GET", "/metrics").text)
    shared_metrics().ready_cpu.set(samples["process_cpu_seconds_total"])
    for _ in range(20):
        post_json(parts, "/predict", example_request())
    told = sum_samples(send_request(parts, "GET", "/metrics").text)
    parts.close()
    told["predictions_total"] -= samples["predictions_total"]  # those of other tests
    found = serving_cost(told, 3.6)
    assert found is not None
    assert found.predictions == 20
    assert 0.05 < found.cpu_ms < 100
    assert found.per_1000 == pytest.approx(found.cpu_ms * 0.001)  # a CPU second costs 0.001
    assert serving_cost(told | {"predictions_total": 0}, 3.6) is None
