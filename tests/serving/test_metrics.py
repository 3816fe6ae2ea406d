"""The service's metrics: each is exported, and changes as it must."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.measures.serving_cost import serving_cost, sum_samples
from serving.http.routes import build_routes
from serving.release.document import Challenger, read_release, write_release
from settings import Settings
from tests.serving.in_process import (
    example_request,
    post_json,
    send_request,
    service_parts,
    shared_metrics,
)
from tests.use_case import USE_CASE

ROOT = Path(__file__).parents[2]
Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page() -> Page:
    """Return (name, labels) → value."""
    from prometheus_client import generate_latest

    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest().decode())
        for sample in family.samples
    }


def value_of(name: str, **labels: str) -> float:
    return page().get((name, frozenset(labels.items())), 0.0)


def change_of(before: Page, name: str, **labels: str) -> float:
    return value_of(name, **labels) - before.get((name, frozenset(labels.items())), 0.0)


def test_requests_and_their_latency_are_counted_by_route_and_outcome(tmp_path: Path) -> None:
    parts = service_parts(Settings(home=tmp_path))
    before = page()
    post_json(parts, "/predict", example_request())
    post_json(parts, "/predict", {})
    send_request(parts, "GET", "/nowhere")
    parts.close()
    assert change_of(before, "service_requests_total", path="/predict", status="200") == 1
    assert change_of(before, "service_requests_total", path="/predict", status="400") == 1
    for path, outcome in (("/predict", "answered"), ("/predict", "refused"), ("other", "refused")):
        assert change_of(before, "service_request_seconds_count", path=path, outcome=outcome) == 1


def test_what_alerts_watch_is_exported_before_it_happens(tmp_path: Path) -> None:
    service_parts(Settings(home=tmp_path)).close()
    rules = (ROOT / "monitoring" / "stack" / "rules.yml").read_text()
    watched = set(re.findall(r"(?:rate|increase)\((\w+)\{job=\"api\"", rules))
    # Exist from the first answer, or once a model is released: no alert is on their first value.
    watched -= {
        "predictions_total",
        "service_request_seconds_bucket",
        "service_request_seconds_count",
    }
    names = {name for name, _ in page()}
    assert watched <= names
    for path in build_routes(USE_CASE):
        for status in ("500", "503"):
            labels = {"path": path, "status": status}
            assert ("service_requests_total", frozenset(labels.items())) in page()
    for reason in ("incomplete", "unreachable"):
        labels = {"outcome": "fallback", "reason": reason}
        assert ("feature_lookups_total", frozenset(labels.items())) in page()


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
        change_of(before, "predictions_total", model_version="1", arm="champion", outcome=decision)
        == 1
    )
    assert change_of(before, "prediction_probability_count", model_version="1", arm="champion") == 1
    assert change_of(before, "scoring_seconds_count", model_version="1", arm="champion") == 1
    why = {"outcome": "fallback", "reason": "incomplete"}
    assert change_of(before, "feature_lookups_total", **why) == 1
    assert sum(value - before.get(key, 0) for key, value in page().items()
               if key[0] == "unknown_categories_total") >= 1  # fmt: skip


def test_release_freeze_and_challenger_are_exported(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    parts = service_parts(settings)
    first = read_release(settings)
    assert first is not None
    challenger = Challenger(replace(first.champion, version="2"), "canary", 5, datetime.now(UTC))
    write_release(settings, replace(first, generation=2, challenger=challenger))
    parts.models.refresh()
    canary = {"model_version": "2", "stage": "canary", "percent": "5", "loaded": "yes"}
    assert (value_of("release_generation"), value_of("release_frozen")) == (2, 0)
    assert value_of("release_challenger", **canary) == 1
    write_release(settings, replace(first, generation=3, frozen=True))
    parts.models.refresh()
    parts.close()
    assert value_of("release_frozen") == 1
    assert value_of("release_challenger", **canary) == 0


def test_a_prediction_has_a_price(tmp_path: Path) -> None:
    parts = service_parts(Settings(home=tmp_path))
    samples = sum_samples(send_request(parts, "GET", "/metrics").text)
    shared_metrics().ready_cpu.set(samples["process_cpu_seconds_total"])
    for _ in range(20):
        post_json(parts, "/predict", example_request())
    after = sum_samples(send_request(parts, "GET", "/metrics").text)
    parts.close()
    after["predictions_total"] -= samples["predictions_total"]  # those of other tests
    cost = serving_cost(after, 3.6)
    assert cost is not None
    assert cost.predictions == 20
    assert 0.05 < cost.cpu_ms < 100
    assert cost.per_1000 == pytest.approx(cost.cpu_ms * 0.001)  # a CPU second costs 0.001
    assert serving_cost(after | {"predictions_total": 0}, 3.6) is None
