"""Readers of the loop's metrics, which Prometheus gets beside the health of the parts.

A reader takes the settings and yields samples. A missing thing, such as a champion before the first
training, has no sample. An unreadable one raises.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from features import partitions, publication_record
from pipelines.ingestion import accepted_batches, ingest
from pipelines.operations import alerts
from pipelines.operations.metric_samples import MetricSample
from pipelines.operations.probes import TIMEOUT
from pipelines.retraining.monitor import latest_result
from pipelines.runtime import clock
from pipelines.runtime.prefect_commands import FLOW_NAMES
from pipelines.training import training_outcome
from serving.models import served_form
from serving.prediction_log import decisions
from serving.release import document
from settings import Settings

SampleReader = Callable[[Settings], Iterator[MetricSample]]


def champion_samples(settings: Settings) -> Iterator[MetricSample]:
    current = document.read_release(settings)
    yield MetricSample("release_generation", current.generation if current else 0)
    if current is not None:
        yield MetricSample("release_changed_timestamp_seconds", current.changed_at.timestamp())
        model = settings.release_file.parent / current.champion.path
        card = served_form.read_card(model.parent)
        labels = {"version": current.champion.version, "candidate": card["candidate"]}
        yield MetricSample("champion_info", 1, labels)


def clock_samples(settings: Settings) -> Iterator[MetricSample]:
    if clock.is_started(settings):
        yield MetricSample("world_timestamp_seconds", clock.now(settings).timestamp())


def online_store_samples(settings: Settings) -> Iterator[MetricSample]:
    until = publication_record.published_until(settings)
    yield MetricSample("features_complete", until is not None)
    if until is not None:
        yield MetricSample("features_until_timestamp_seconds", until.timestamp())


def batch_samples(settings: Settings) -> Iterator[MetricSample]:
    quarantined = accepted_batches.count_quarantined(settings)
    for feed in settings.use_case.feeds if clock.is_started(settings) else ():
        n_missing = ingest.count_missing_batches(settings, feed, clock.now(settings))
        yield MetricSample("batches_missing", n_missing, {"feed": feed})
        days = partitions.partition_days(settings.data, "validated", feed)
        n_newest = quarantined[feed, days[-1]] if days else 0
        yield MetricSample("rows_quarantined", n_newest, {"feed": feed})
    for feed, n_rows in accepted_batches.read_restatements(settings).items():
        yield MetricSample("rows_restated", n_rows, {"feed": feed})
    yield MetricSample("rows_quarantined_limit", settings.params()["validation"]["max_quarantined"])
    refused = (settings.data / "quarantine" / "refused").glob("*/*.parquet")
    yield MetricSample("batches_refused", sum(1 for _ in refused))
    yield MetricSample("quarantined_rows", quarantined.total())


def monitoring_samples(settings: Settings) -> Iterator[MetricSample]:
    result = latest_result(settings)
    if result is None:
        return
    retrain = result["retrain"]
    yield MetricSample("monitoring_as_of_timestamp_seconds", _timestamp(result["as_of"]))
    yield MetricSample("monitoring_retrain", retrain)
    yield MetricSample("monitoring_problems", len(result["problems"]))
    for code in result.get("codes", ()):
        yield MetricSample("monitoring_decision", retrain, {"code": code})
    for trigger in result["triggers"]:
        for what in ("value", "limit", "fired"):
            yield MetricSample(f"trigger_{what}", trigger[what], {"trigger": trigger["name"]})
    limits = settings.params()["monitoring"]
    yield MetricSample("label_coverage_limit", limits["min_coverage"])
    max_uncounted = limits.get("decisions", {}).get("max_uncounted")
    yield MetricSample("uncounted_share_limit", max_uncounted)
    for of in ("live", "expected"):
        if result[of] is not None:
            for name in ("cost_per_1000", "calibration_gap"):
                yield MetricSample(name, result[of][name], {"of": of})
    # A result of an older version lacks some of these.
    yield MetricSample("cost_per_1000", result.get("estimated"), {"of": "estimated"})
    if result["drift"] is not None:
        moved = result["drift"]["prediction"]
        yield MetricSample("prediction_distance", moved["score"])
        yield MetricSample("prediction_distance_limit", moved["limit"])
    yield MetricSample("label_coverage", result.get("label_coverage"))
    for reason in decisions.REASONS if "uncounted" in result else ():
        count = result["uncounted"].get(reason, 0)
        yield MetricSample("predictions_uncounted", count, {"reason": reason})
    yield MetricSample("uncounted_share", result.get("uncounted_share"))
    yield MetricSample("label_delay_hours", result.get("delay_hours"))
    if "label_coverage" in result:
        yield from _interval_samples(result)


def _interval_samples(result: dict[str, Any]) -> Iterator[MetricSample]:
    """Yield values with their intervals, and the slices."""
    if result["live"] is not None:
        yield from _bounds("cost_bound", result["live"], "cost", {})
        yield from _bounds("bias", result["live"], "bias", {})
        yield from _bounds("saving", result["live"], "saving", {})
    for each in result["slices"]:
        own = {"slice": each["slice"], "value": each["value"]}
        yield MetricSample("slice_labels_missing", each["missing"], own)
        if each["enough"]:
            yield from _bounds("slice_cost_per_1000", each, "cost", own)
            yield from _bounds("slice_bias", each, "bias", own)


def _bounds(
    name: str, values: Mapping[str, float], of: str, labels: Mapping[str, str]
) -> Iterator[MetricSample]:
    mean = "cost_per_1000" if of == "cost" else of
    for bound, key in (("mean", mean), ("low", f"{of}_low"), ("high", f"{of}_high")):
        yield MetricSample(name, values[key], {**labels, "bound": bound})


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def training_samples(settings: Settings) -> Iterator[MetricSample]:
    if outcomes := training_outcome.list_outcomes(settings):
        newest = outcomes[-1]
        concluded = _timestamp(newest["concluded_at"])
        yield MetricSample("training_as_of_timestamp_seconds", _timestamp(newest["as_of"]))
        yield MetricSample("training_concluded_timestamp_seconds", concluded)
        promoted = newest["version"] is not None and not newest.get("refused")
        yield MetricSample("training_promoted", promoted)


def flow_samples(settings: Settings) -> Iterator[MetricSample]:
    """Ask Prefect's API over HTTP: importing its client takes a second and adds a cache."""
    if settings.owns_prefect:
        return
    ended = {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}
    newest = {"flow_runs": {"state": ended}, "sort": "END_TIME_DESC", "limit": 1}
    late = {"flow_runs": {"state": {"name": {"any_": ["Late"]}}}}
    with httpx.Client(base_url=settings.prefect_url, timeout=TIMEOUT) as client:
        for flow in FLOW_NAMES:
            asked = {"flows": {"name": {"any_": [flow]}}, **newest}
            for run in client.post("/flow_runs/filter", json=asked).raise_for_status().json():
                yield MetricSample("flow_failed", run["state_type"] != "COMPLETED", {"flow": flow})
        count = client.post("/flow_runs/count", json=late).raise_for_status()
        yield MetricSample("flow_runs_late", count.json())


def alert_event_samples(settings: Settings) -> Iterator[MetricSample]:
    """Without a Prefect server in the settings, no alert gets an event."""
    if not settings.owns_prefect:
        age = alerts.oldest_unsent_age(settings, datetime.now(UTC))
        yield MetricSample("alert_event_age_seconds", age)


def price_samples(settings: Settings) -> Iterator[MetricSample]:
    yield MetricSample("price_per_cpu_hour", settings.params()["serving"]["price_per_cpu_hour"])


def volume_samples(settings: Settings) -> Iterator[MetricSample]:
    log = settings.predictions
    files = [file.stat() for file in log.rglob("*") if file.is_file()]
    yield MetricSample("prediction_log_bytes", sum(file.st_size for file in files))
    yield MetricSample("prediction_log_segments", len(files))
    for volume, folder in (("state", settings.var), ("predictions", log)):
        if folder.exists():
            usage = shutil.disk_usage(folder)
            yield MetricSample("disk_free_bytes", usage.free, {"volume": volume})
            yield MetricSample("disk_size_bytes", usage.total, {"volume": volume})


# The keys are values of the label `what` of `mlops_watch_failures`.
SAMPLE_READERS: dict[str, SampleReader] = {
    "champion": champion_samples,
    "freshness": clock_samples,
    "online": online_store_samples,
    "batches": batch_samples,
    "monitoring": monitoring_samples,
    "trainings": training_samples,
    "flows": flow_samples,
    "alert_events": alert_event_samples,
    "prices": price_samples,
    "volumes": volume_samples,
}
