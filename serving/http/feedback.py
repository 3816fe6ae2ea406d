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
from serving.errors import Refusal
from serving.http.asgi import Request, Response
from serving.http.schemas import FeedbackRequest, FeedbackResponse
from serving.metrics import Metrics
from serving.prediction_log import reported_outcomes, search

if TYPE_CHECKING:
    pass

LATE_AFTER = timedelta(
    days=30
)  # after the decision: the windows that it belongs to are long measured


class FeedbackHandler:
    """The handler of the route."""

    def __init__(self, predictions: Path, metrics: Metrics) -> None:
        self._predictions, self._metrics = predictions, metrics

    def one(self, request: Request) -> Response:
        """POST /feedback."""
        told = FeedbackRequest.model_validate_json(request.body)
        try:
            status = record_outcome(self._predictions, told, by=request.client)
        except Refusal as refused:
            self._metrics.feedback.labels(refused.error).inc()
            raise
        self._metrics.feedback.labels(status).inc()
        answer = FeedbackResponse(request_id=told.request_id, status=status)
        return Response(answer.model_dump_json().encode())


def record_outcome(predictions: Path, told: FeedbackRequest, *, by: str) -> str:
    """Keeps an outcome, once. Raises `Refusal`: 404 nothing predicted under the id, 409 another
    outcome stands, 400 known before it was decided on."""
    found = search.find_prediction(predictions, told.request_id)
    if found is None:
        raise Refusal(404, "unknown prediction", "No prediction with this id is in the log.")
    decided_at = found["decision_time"]
    if told.known_at < decided_at:
        raise Refusal(
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
                    raise Refusal(409, "another outcome stands", "It was told otherwise before.")
                return True
        return False

    if not durable_files.append_unless(
        reported_outcomes.outcomes_file(predictions), json.dumps(outcome), known
    ):
        return "already recorded"
    return "recorded late" if told.known_at - decided_at > LATE_AFTER else "recorded"
