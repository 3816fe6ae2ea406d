"""The service's Prometheus metrics: requests, predictions, features and releases."""

import time
from collections.abc import Iterable
from functools import cache

from serving.models.holder import LoadedRelease
from serving.models.scoring import ScoredCase

LOOKUP_FAILURES = ("incomplete", "unreachable")  # why the online store gave no features


def keep_counts_in_memory() -> None:
    """Keep the counts in this process's memory instead of in files that processes share.

    BentoML turns the files on through the environment, and each count then costs twice as much. One
    process answers and is scraped, so nothing has to be shared.
    """
    from prometheus_client import values

    values.ValueClass = values.MutexValue


class Metrics:
    """All metrics of the service. Prometheus allows one instance in a process."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        keep_counts_in_memory()
        model = ["model_version", "arm"]
        self.requests = Counter(
            "service_requests", "Requests answered, by path and status", ["path", "status"]
        )
        self.seconds = Histogram(
            "service_request_seconds", "From the request's head to the response",
            ["path", "outcome"],
            buckets=[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
        )  # fmt: skip
        self.under_way = Gauge("service_requests_under_way", "Requests with a body being answered")
        self.rows_under_way = Gauge("service_rows_under_way", "Their cases, computed or waiting")
        self.receiving = Gauge("service_requests_receiving", "Requests whose body is arriving")
        self.overloaded = Counter(
            "service_overloaded", "Requests refused with 429: too many at once"
        )
        self.lookups = Counter(
            "feature_lookups", "Cases looked up in the online store, by outcome and reason",
            ["outcome", "reason"],
        )  # fmt: skip
        self.feature_age = Histogram(
            "feature_age_seconds", "From the newest feature to the decision time",
            buckets=[600, 1800, 3600, 5400, 7200, 10800, 21600, 86400],
        )  # fmt: skip
        self.missing = Histogram(
            "features_missing_share", "Share of a case's features without a value",
            buckets=[0.0, 0.1, 0.25, 0.5, 0.75, 1.0],
        )  # fmt: skip
        self.unknown = Counter(
            "unknown_categories", "Values that the champion did not see in training", ["column"]
        )
        self.log_lag = Gauge(
            "prediction_log_lag_seconds", "Age of the oldest record not yet synced to the disk"
        )
        self.generation = Gauge(
            "release_generation", "Generation of the served release; 0 if there is none"
        )
        self.release_problem = Gauge(
            "release_problem", "1 while the service can't serve the release as written"
        )
        self.frozen = Gauge(
            "release_frozen", "1 while releases are frozen: the champion answers alone"
        )
        self.challenger = Gauge(
            "release_challenger", "1 while this challenger is released, in this stage",
            ["model_version", "stage", "percent", "loaded"],
        )  # fmt: skip
        self._current_challenger: Gauge | None = None  # the child of `challenger` that is 1
        self.ready_cpu = Gauge(
            "service_ready_cpu_seconds", "CPU that the process had used when it became ready"
        )
        self.feedback = Counter("feedback", "Outcomes reported to the service", ["answer"])
        self.predictions = Counter(
            "predictions", "Cases answered, and requests failed", [*model, "outcome"]
        )
        self.probability = Histogram(
            "prediction_probability", "Probability of class 1", model,
            buckets=[n / 20 for n in range(1, 21)],
        )  # fmt: skip
        self.scoring = Histogram(
            "scoring_seconds", "Time that a model took for a case", model,
            buckets=[1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1],
        )  # fmt: skip
        self.challenger_failures = Counter(
            "challenger_failures", "Cases that a challenger could not score; the champion answered",
            model,
        )  # fmt: skip
        self.not_logged = Counter(
            "predictions_not_logged", "Cases not answered, as the log could not be written"
        )
        # Finding the labels of a metric costs more than counting.
        self._child = cache(lambda metric, *labels: metric.labels(*labels))

    def create_series(self, paths: Iterable[str]) -> None:
        """Export 0 for what alerts watch: Prometheus' rates leave out a series' first value."""
        for path in paths:
            for status in (200, 500, 503):
                self.requests.labels(path, status)
        for outcome, reason in (("found", ""), *(("fallback", each) for each in LOOKUP_FAILURES)):
            self.lookups.labels(outcome, reason)

    def count_request(self, path: str, status: int, began: float) -> None:
        """Count a response. `path`: a known route or "other"; `began`: of time.perf_counter."""
        outcome = "failed" if status >= 500 else "refused" if status >= 400 else "answered"
        self._child(self.requests, path, status).inc()
        self._child(self.seconds, path, outcome).observe(time.perf_counter() - began)

    def record_release(self, loaded: LoadedRelease) -> None:
        """Set the gauges to the release that is served from now on."""
        release = loaded.release
        self.generation.set(release.generation)
        self.frozen.set(release.frozen)
        if self._current_challenger is not None:
            self._current_challenger.set(0)
            self._current_challenger = None
        if (challenger := release.challenger) is not None:
            is_loaded = "yes" if loaded.challenger else "no"
            self._current_challenger = self.challenger.labels(
                challenger.model.version, challenger.stage, f"{challenger.percent:g}", is_loaded
            )
            self._current_challenger.set(1)

    def count_failure(self, champion: str) -> None:
        """Count a request that no arm answered; `champion` is the champion's version."""
        self.predictions.labels(champion, "champion", "failed").inc()

    def count_challenger(self, scored: ScoredCase) -> None:
        """Count the challenger's score, if it was asked, even if the request fails later."""
        arms = (("shadow", scored.shadow), ("challenger", scored.failed_challenger))
        for arm, score in arms:
            if scored.challenger is None or score is None:
                continue
            version = scored.challenger.version
            self._child(self.scoring, version, arm).observe(score.seconds)
            if score.probability is None:
                self._child(self.challenger_failures, version, arm).inc()
            else:
                self._child(self.probability, version, arm).observe(score.probability)

    def count_prediction(self, scored: ScoredCase, decision: bool) -> None:
        """Count a prediction that is logged and about to be sent."""
        version = scored.model.version
        arm = "champion" if scored.failed_challenger else scored.arm
        self._child(self.predictions, version, arm, "yes" if decision else "no").inc()
        self._child(self.probability, version, arm).observe(scored.probability)
        self._child(self.scoring, version, arm).observe(scored.seconds)
