"""How does the loop stand, in numbers? What Prometheus is told beside whether the parts are up.

A reader takes the settings and gives samples; what there is none of, such as
a champion before the first training, has no sample. It raises if what is there can't be read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx

from features import publication_record
from pipelines.ingestion import accepted_batches, ingest, restatements, validate
from pipelines.operations import alerts
from pipelines.operations.probes import TIMEOUT
from pipelines.retraining.monitor import latest_result
from pipelines.runtime import clock
from pipelines.runtime.prefect_commands import FLOW_NAMES
from pipelines.training import training_outcome
from serving.release import document
from settings import Settings
from usecase import source

LOOP_METRIC_HELP = {
    "champion_info": "The released version",
    "release_generation": "Of the release document; 0 if there is none",
    "release_changed_timestamp_seconds": "When that was released",
    "world_timestamp_seconds": "Now, in the world that the data tell of",
    "features_complete": "Whether the online store holds a complete publication",
    "features_until_timestamp_seconds": "Up to when the online store is published",
    "batches_missing": "Batches that are due and not validated",
    "batches_refused": "Batches that validation refused whole",
    "quarantined_rows": "Rows in quarantine",
    "rows_quarantined": "Of the newest batch of a feed",
    "rows_restated": "Of the batches validated last of a feed, whose key an earlier batch stated",
    "rows_quarantined_limit": "Above which somebody should look at a batch's broken rows",
    "monitoring_as_of_timestamp_seconds": "Of the newest monitoring result",
    "monitoring_retrain": "Whether it asks for a retraining",
    "monitoring_decision": "Whether it asks for a retraining, by the codes of its reasons",
    "monitoring_problems": "Checks of it that could not run, and labels that are missing",
    "trigger_value": "What the policy judges",
    "trigger_limit": "The policy's limit",
    "trigger_fired": "Whether a trigger is over its limit",
    "cost_per_1000": "Of the live predictions, as expected, and of the last week as estimated",
    "calibration_gap": "Between mean prediction and mean label, live and expected",
    "cost_bound": "Of the live predictions per 1,000, with its 90% interval over days",
    "bias": "Mean prediction less mean label, with its 90% interval over days",
    "saving": "Share saved of what one answer to all would cost, with its 90% interval over days",
    "slice_cost_per_1000": "Of a slice, with its 90% interval over days",
    "slice_bias": "Mean prediction less mean label of a slice, with its 90% interval over days",
    "slice_labels_missing": "Share of the newest day's labels due that a slice lacks",
    "label_delay_hours": "From decision to label, in the median",
    "label_coverage": "Share of the window's predictions that have a label, of those due",
    "label_coverage_limit": "Below which labels count as missing",
    "prediction_distance": "Of the probabilities from the reference's",
    "prediction_distance_limit": "Above which predictions count as drifted",
    "training_as_of_timestamp_seconds": "Of the newest concluded training",
    "training_concluded_timestamp_seconds": "When that ended",
    "training_promoted": "Whether its version was released: as champion, or into the shadow",
    "flow_failed": "Whether the newest finished run of a flow ended badly",
    "flow_runs_late": "Runs that should have started and have not",
    "alert_event_age_seconds": "Of the oldest alert whose event Prefect has not taken; 0 if none",
    "prediction_log_bytes": "Of all files of the prediction log",
    "prediction_log_segments": "Files of the prediction log",
    "price_per_cpu_hour": "What an hour of one core costs, as usecase/params.yaml has it",
    "disk_free_bytes": "Of the disk that holds a volume",
    "disk_size_bytes": "Of the disk that holds a volume",
}


class MetricSample(NamedTuple):
    """One line of /metrics; `name` without the prefix, one of `LOOP_METRIC_HELP`."""

    name: str
    value: float
    labels: Mapping[str, str] = {}


SampleReader = Callable[[Settings], Iterator[MetricSample]]


def champion(settings: Settings) -> Iterator[MetricSample]:
    current = document.read_release(settings.release_file)
    yield MetricSample("release_generation", current.generation if current else 0)
    if current is not None:
        yield MetricSample("release_changed_timestamp_seconds", current.changed_at.timestamp())
        model = settings.release_file.parent / current.champion.path
        card = json.loads((model.parent / "card.json").read_text())
        labels = {"version": current.champion.version, "candidate": card["candidate"]}
        yield MetricSample("champion_info", 1, labels)


def freshness(settings: Settings) -> Iterator[MetricSample]:
    if clock.is_started(settings):
        yield MetricSample("world_timestamp_seconds", clock.now(settings).timestamp())


def online(settings: Settings) -> Iterator[MetricSample]:
    stands = publication_record.published_until(settings)
    yield MetricSample("features_complete", stands is not None)
    if stands is not None:
        yield MetricSample("features_until_timestamp_seconds", stands.timestamp())


def batches(settings: Settings) -> Iterator[MetricSample]:
    for feed in source.FEEDS if clock.is_started(settings) else ():
        absent = ingest.count_missing_batches(settings, feed, clock.now(settings))
        yield MetricSample("batches_missing", absent, {"feed": feed})
        newest = validate.count_newest_quarantined(settings.data, feed)
        yield MetricSample("rows_quarantined", newest, {"feed": feed})
    for feed, n_rows in restatements.read_restatements(settings).items():
        yield MetricSample("rows_restated", n_rows, {"feed": feed})
    yield MetricSample("rows_quarantined_limit", settings.params()["validation"]["max_quarantined"])
    refused = (settings.data / "quarantine" / "refused").glob("*/*.parquet")
    yield MetricSample("batches_refused", sum(1 for _ in refused))
    yield MetricSample("quarantined_rows", accepted_batches.count_quarantined_rows(settings))


def monitoring(settings: Settings) -> Iterator[MetricSample]:
    found = latest_result(settings)
    if found is None:
        return
    as_of = datetime.fromisoformat(found["as_of"])
    yield MetricSample("monitoring_as_of_timestamp_seconds", as_of.timestamp())
    yield MetricSample("monitoring_retrain", found["retrain"])
    yield MetricSample("monitoring_problems", len(found["problems"]))
    for code in found.get("codes", ()):
        yield MetricSample("monitoring_decision", found["retrain"], {"code": code})
    for trigger in found["triggers"]:
        labels = {"trigger": trigger["name"]}
        if trigger["value"] is not None:
            yield MetricSample("trigger_value", trigger["value"], labels)
        yield MetricSample("trigger_limit", trigger["limit"], labels)
        yield MetricSample("trigger_fired", trigger["fired"], labels)
    yield MetricSample("label_coverage_limit", settings.params()["monitoring"]["min_coverage"])
    yield from _measured(found)


def _measured(found: dict[str, Any]) -> Iterator[MetricSample]:
    for of in ("live", "expected"):
        if found[of] is not None:
            yield MetricSample("cost_per_1000", found[of]["cost_per_1000"], {"of": of})
            yield MetricSample("calibration_gap", found[of]["calibration_gap"], {"of": of})
    if found.get("estimated") is not None:
        yield MetricSample("cost_per_1000", found["estimated"], {"of": "estimated"})
    if found["drift"] is not None:
        moved = found["drift"]["prediction"]
        yield MetricSample("prediction_distance", moved["score"])
        yield MetricSample("prediction_distance_limit", moved["limit"])
    if "label_coverage" in found:  # what an older version has left is looked at until the next
        yield from _in_depth(found)


def _in_depth(found: dict[str, Any]) -> Iterator[MetricSample]:
    """With intervals, and by slice."""
    if found["live"] is not None:
        yield from _bounds("cost_bound", found["live"], "cost", "cost_per_1000", {})
        yield from _bounds("bias", found["live"], "bias", "bias", {})
        yield from _bounds("saving", found["live"], "saving", "saving", {})
    for name, key in (("label_coverage", "label_coverage"), ("label_delay_hours", "delay_hours")):
        if found[key] is not None:
            yield MetricSample(name, found[key])
    for each in found["slices"]:
        own = {"slice": each["slice"], "value": each["value"]}
        if each["enough"]:
            yield from _bounds("slice_cost_per_1000", each, "cost", "cost_per_1000", own)
            yield from _bounds("slice_bias", each, "bias", "bias", own)
        yield MetricSample("slice_labels_missing", each["missing"], own)


def _bounds(
    name: str, found: Mapping[str, float], of: str, mean: str, labels: Mapping[str, str]
) -> Iterator[MetricSample]:
    for bound, key in (("mean", mean), ("low", f"{of}_low"), ("high", f"{of}_high")):
        yield MetricSample(name, found[key], {**labels, "bound": bound})


def trainings(settings: Settings) -> Iterator[MetricSample]:
    outcomes = training_outcome.list_outcomes(settings)
    if outcomes:
        as_of, concluded = (
            datetime.fromisoformat(outcomes[-1][name]) for name in ("as_of", "concluded_at")
        )
        yield MetricSample("training_as_of_timestamp_seconds", as_of.timestamp())
        yield MetricSample("training_concluded_timestamp_seconds", concluded.timestamp())
        promoted = outcomes[-1]["version"] is not None and not outcomes[-1].get("refused")
        yield MetricSample("training_promoted", promoted)


def flows(settings: Settings) -> Iterator[MetricSample]:
    """By Prefect's API over HTTP: its client costs a second to import, and a cache of its own."""
    if settings.owns_prefect:
        return
    with httpx.Client(base_url=settings.prefect_url, timeout=TIMEOUT) as client:
        for flow in FLOW_NAMES:
            ended = client.post("/flow_runs/filter", json=_newest_of(flow)).raise_for_status()
            for run in ended.json():
                yield MetricSample("flow_failed", run["state_type"] != "COMPLETED", {"flow": flow})
        late = {"flow_runs": {"state": {"name": {"any_": ["Late"]}}}}
        found = client.post("/flow_runs/count", json=late).raise_for_status()
        yield MetricSample("flow_runs_late", found.json())


def alert_events(settings: Settings) -> Iterator[MetricSample]:
    """Where no server of Prefect is named, nobody is there to take the events."""
    if not settings.owns_prefect:
        age = alerts.oldest_unsent_age(settings, datetime.now(UTC))
        yield MetricSample("alert_event_age_seconds", age)


def _newest_of(flow: str) -> dict[str, Any]:
    ended = {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}
    return {
        "flows": {"name": {"any_": [flow]}}, "flow_runs": {"state": ended},
        "sort": "END_TIME_DESC", "limit": 1,
    }  # fmt: skip


def prices(settings: Settings) -> Iterator[MetricSample]:
    yield MetricSample("price_per_cpu_hour", settings.params()["serving"]["price_per_cpu_hour"])


def volumes(settings: Settings) -> Iterator[MetricSample]:
    log = settings.predictions
    files = [file.stat() for file in log.rglob("*") if file.is_file()]
    yield MetricSample("prediction_log_bytes", sum(file.st_size for file in files))
    yield MetricSample("prediction_log_segments", len(files))
    for volume, folder in (("state", settings.var), ("predictions", log)):
        if folder.exists():
            usage = shutil.disk_usage(folder)
            yield MetricSample("disk_free_bytes", usage.free, {"volume": volume})
            yield MetricSample("disk_size_bytes", usage.total, {"volume": volume})


_READERS = (
    champion, freshness, online, batches, monitoring, trainings, flows, alert_events, prices,
    volumes,
)  # fmt: skip
SAMPLE_READERS: dict[str, SampleReader] = {reader.__name__: reader for reader in _READERS}
