"""POST /feedback: keeps the outcome of a predicted case, by request id.

An outcome is synced to the disk before the response. All replicas append to one file, one at a
time, and each first reads the outcomes that the file holds.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from features import durable_files
from serving.errors import Refusal
from serving.http.asgi import Request, Response
from serving.http.schemas import FeedbackRequest, FeedbackResponse
from serving.metrics import Metrics
from serving.prediction_log import reported_outcomes, search

LATE_AFTER = timedelta(days=30)  # after the decision: monitoring has measured its windows by then


class FeedbackHandler:
    """Records outcomes and counts them."""

    def __init__(self, predictions: Path, metrics: Metrics) -> None:
        self._predictions, self._metrics = predictions, metrics

    def record(self, request: Request) -> Response:
        """Handle the route."""
        feedback = FeedbackRequest.model_validate_json(request.body)
        try:
            status = record_outcome(self._predictions, feedback, client=request.client)
        except Refusal as refusal:
            self._metrics.feedback.labels(refusal.error).inc()
            raise
        self._metrics.feedback.labels(status).inc()
        response = FeedbackResponse(request_id=feedback.request_id, status=status)
        return Response(response.model_dump_json().encode())


def record_outcome(predictions: Path, feedback: FeedbackRequest, *, client: str) -> str:
    """Record an outcome once, and return its status.

    Raises `Refusal`: 404 if the log has no such prediction, 409 if it has the opposite outcome, 400
    if the outcome was known before the decision time.
    """
    prediction = search.find_prediction(predictions, feedback.request_id)
    if prediction is None:
        raise Refusal(
            404, "unknown prediction",
            "The prediction log has no such request id. Send the id of the prediction's response.",
        )  # fmt: skip
    decided_at = prediction["decision_time"]
    if feedback.known_at < decided_at:
        raise Refusal(
            400, "invalid request", "known_at: before the prediction's decision time.",
            fields=[{"field": "known_at", "reason": "before the prediction's decision time"}],
        )  # fmt: skip
    outcome = {
        "request_id": feedback.request_id, "key": prediction["key"],
        "label": int(feedback.outcome), "known_at": feedback.known_at.astimezone(UTC).isoformat(),
        "told_by": client, "told_at": datetime.now(UTC).isoformat(),
    }  # fmt: skip

    def is_recorded(lines: list[bytes]) -> bool:
        for line in lines:
            if (recorded := json.loads(line))["request_id"] == feedback.request_id:
                if recorded["label"] != outcome["label"]:
                    raise Refusal(
                        409, "another outcome stands",
                        "The opposite outcome is recorded for this request id. It stays.",
                    )  # fmt: skip
                return True
        return False

    file = reported_outcomes.outcomes_file(predictions)
    if not durable_files.append_unless(file, json.dumps(outcome), is_recorded):
        return "already recorded"
    return "recorded late" if feedback.known_at - decided_at > LATE_AFTER else "recorded"
