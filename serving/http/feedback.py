"""How did a case turn out, as those tell who saw it? True outcomes by request id, kept for good.

A line in a file beside the prediction log, synced before it is acknowledged. All replicas append to
the same file, one at a time, and each looks first at what stands there.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from features import durable_files
from serving.errors import Refused
from serving.http.asgi import Answer, Request
from serving.http.schemas import FeedbackRequest, FeedbackResponse
from serving.metrics import Metrics
from serving.prediction_log import reported_outcomes, search

if TYPE_CHECKING:
    pass

LATE = timedelta(days=30)  # after the decision: the windows that it belongs to are long measured


class Feedback:
    """The handler of the route."""

    def __init__(self, predictions: Path, metrics: Metrics) -> None:
        self._predictions, self._metrics = predictions, metrics

    def one(self, request: Request) -> Answer:
        """POST /feedback."""
        told = FeedbackRequest.model_validate_json(request.body)
        try:
            status = record(self._predictions, told, by=request.client)
        except Refused as refused:
            self._metrics.feedback.labels(refused.error).inc()
            raise
        self._metrics.feedback.labels(status).inc()
        answer = FeedbackResponse(request_id=told.request_id, status=status)
        return Answer(answer.model_dump_json().encode())


def record(predictions: Path, told: FeedbackRequest, *, by: str) -> str:
    """Keeps an outcome, once. Raises `Refused`: 404 nothing predicted under the id, 409 another
    outcome stands, 400 known before it was decided on."""
    found = search.prediction(predictions, told.request_id)
    if found is None:
        raise Refused(404, "unknown prediction", "No prediction with this id is in the log.")
    decided_at = found["decision_time"]
    if told.known_at < decided_at:
        raise Refused(
            400, "invalid request", "known_at: it can't be known before it was predicted.",
            fields=[{"field": "known_at", "reason": "before the prediction's decision time"}],
        )  # fmt: skip
    outcome = {
        "request_id": told.request_id, "key": found["key"], "label": int(told.outcome),
        "known_at": told.known_at.astimezone(UTC).isoformat(), "told_by": by,
        "told_at": datetime.now(UTC).isoformat(),
    }  # fmt: skip

    def known(lines: list[bytes]) -> bool:
        for line in lines:
            if (old := json.loads(line))["request_id"] == told.request_id:
                if old["label"] != outcome["label"]:
                    raise Refused(409, "another outcome stands", "It was told otherwise before.")
                return True
        return False

    if not durable_files.append_unless(
        reported_outcomes.path(predictions), json.dumps(outcome), known
    ):
        return "already recorded"
    return "recorded late" if told.known_at - decided_at > LATE else "recorded"
