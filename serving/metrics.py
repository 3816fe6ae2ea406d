"""What does the service count of its requests and predictions? For Prometheus."""

from __future__ import annotations

import time
from typing import Any

from serving.models.holder import LoadedRelease
from serving.models.scoring import ScoredCase


def keep_counts_in_memory() -> None:
    """One process answers and is scraped: its counts need no files to be shared through.

    BentoML asks for those files by the environment, and each count then costs twice as much.
    """
    from prometheus_client import values

    values.ValueClass = values.MutexValue


class Metrics:
    """To be made once in a process."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        keep_counts_in_memory()

        self.requests = Counter(
            "service_requests", "Requests answered, by path and status", ["path", "status"]
        )
        self.seconds = Histogram(
            "service_request_seconds", "From the request's head to its answer",
            ["path", "outcome"],
            buckets=[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
        )  # fmt: skip
        self.under_way = Gauge(
            "service_requests_under_way",
            "Being answered",
        )
        self.overloaded = Counter("service_overloaded", "Requests told to wait: too many at once")
        self.lookups = Counter(
            "feature_lookups",
            "Of cases in the online store, by how they ended and why",
            ["outcome", "reason"],
        )
        self.feature_age = Histogram(
            "feature_age_seconds", "From the newest feature found to the decision time",
            buckets=[600, 1800, 3600, 5400, 7200, 10800, 21600, 86400],
        )  # fmt: skip
        self.missing = Histogram(
            "features_missing_share", "Of a case's features, those without a value",
            buckets=[0.0, 0.1, 0.25, 0.5, 0.75, 1.0],
        )  # fmt: skip
        self.unknown = Counter(
            "unknown_categories", "Values that the champion has not seen in training", ["column"]
        )
        self.log_lag = Gauge(
            "prediction_log_lag_seconds", "Age of the oldest record that is not synced",
        )  # fmt: skip
        self.generation = Gauge(
            "release_generation", "Of the release that is served; 0 if there is none",
        )  # fmt: skip
        self.release_problem = Gauge(
            "release_problem", "1 while what is served is not what was released",
        )  # fmt: skip
        self.frozen = Gauge(
            "release_frozen", "1 while the champion answers alone and nothing may be released",
        )  # fmt: skip
        self.challenger = Gauge(
            "release_challenger", "1 while it is beside the champion, in this stage",
            ["model_version", "stage", "percent", "loaded"],
        )  # fmt: skip
        self._beside: Any = None  # of `challenger`, the one that is 1
        self.ready_cpu = Gauge(
            "service_ready_cpu_seconds", "That the process had spent when it began to answer",
        )  # fmt: skip
        self.feedback = Counter("feedback", "True outcomes told to the service", ["answer"])
        self._of_request: dict[tuple[str, int], Any] = {}
        self._of_answer: dict[tuple[str, str, bool], Any] = {}

        self.predictions = Counter(
            "predictions", "Requests answered, or failed", ["model_version", "arm", "outcome"]
        )
        self.probability = Histogram(
            "prediction_probability", "Probability of class 1", ["model_version", "arm"],
            buckets=[n / 20 for n in range(1, 21)],
        )  # fmt: skip
        self.scoring = Histogram(
            "scoring_seconds", "What a model took over a case", ["model_version", "arm"],
            buckets=[1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1],
        )  # fmt: skip
        self.challenger_failures = Counter(
            "challenger_failures", "Cases that a challenger could not score; the champion answered",
            ["model_version", "arm"],
        )  # fmt: skip
        self.not_logged = Counter(
            "predictions_not_logged", "Not answered, as the log could not be written"
        )

    def request(self, path: str, status: int, began: float) -> None:
        """An answer; `path` is one of the table of routes, or a word for all others."""
        pair = self._of_request.get((path, status))
        if pair is None:  # looking a label up costs more than counting
            outcome = "failed" if status >= 500 else "refused" if status >= 400 else "answered"
            pair = self.requests.labels(path, str(status)), self.seconds.labels(path, outcome)
            self._of_request[path, status] = pair
        pair[0].inc()
        pair[1].observe(time.perf_counter() - began)

    def released(self, serving: LoadedRelease) -> None:
        """What is served from now on."""
        release = serving.release
        self.generation.set(release.generation)
        self.frozen.set(release.frozen)
        if self._beside is not None:
            self._beside.set(0)
            self._beside = None
        if (challenger := release.challenger) is not None:
            loaded = "yes" if serving.challenger else "no"
            self._beside = self.challenger.labels(
                challenger.model.version, challenger.stage, f"{challenger.percent:g}", loaded
            )
            self._beside.set(1)

    def failed(self, champion: str) -> None:
        """A request that got no answer from any arm."""
        self.predictions.labels(champion, "champion", "failed").inc()

    def challenged(self, scored: ScoredCase) -> None:
        """What the challenger did, if it was asked, whatever becomes of the answer."""
        if scored.challenger is None:
            return
        version = scored.challenger.version
        for arm, word in (("shadow", scored.shadow), ("challenger", scored.failed)):
            if word is None:
                continue
            self.scoring.labels(version, arm).observe(word.seconds)
            if word.probability is None:
                self.challenger_failures.labels(version, arm).inc()
            else:
                self.probability.labels(version, arm).observe(word.probability)

    def answered(self, scored: ScoredCase, decision: bool) -> None:
        """An answer that is in the log, and on its way."""
        version = scored.model.version
        arm = "champion" if scored.failed else scored.arm
        found = self._of_answer.get((version, arm, decision))
        if found is None:
            found = (
                self.predictions.labels(version, arm, "yes" if decision else "no"),
                self.probability.labels(version, arm), self.scoring.labels(version, arm),
            )  # fmt: skip
            self._of_answer[version, arm, decision] = found
        found[0].inc()
        found[1].observe(scored.probability)
        found[2].observe(scored.answer.seconds)
