"""What does the service count of its predictions? By version and arm, for Prometheus."""

from __future__ import annotations

from serving.scoring import Scored


class Metrics:
    """To be made once in a process, after BentoML has set the folder of its metrics."""

    def __init__(self) -> None:
        # Not at the top: the supervising process imports this too, before that folder is set.
        from prometheus_client import Counter, Histogram

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

    def failed(self, champion: str) -> None:
        """A request that got no answer from any arm."""
        self.predictions.labels(champion, "champion", "failed").inc()

    def challenged(self, scored: Scored) -> None:
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

    def answered(self, scored: Scored, decision: bool) -> None:
        """An answer that is in the log, and on its way."""
        version = scored.model.version
        arm = "champion" if scored.failed else scored.arm
        self.predictions.labels(version, arm, "yes" if decision else "no").inc()
        self.probability.labels(version, arm).observe(scored.probability)
        self.scoring.labels(version, arm).observe(scored.answer.seconds)
