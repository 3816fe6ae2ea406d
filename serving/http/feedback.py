"""POST /feedback: keeps the outcome of a predicted case, by the id of its prediction.

An outcome is synced to the disk before the response. All replicas append to one file, one at a
time, and each first reads what the others have appended.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from features import durable_files
from serving.errors import Refusal, part_unavailable
from serving.http.api import Request
from serving.http.schemas import FeedbackRequest, FeedbackResponse
from serving.prediction_log import reader
from serving.wiring import ServiceParts

LATE_AFTER = timedelta(days=30)  # after the decision: monitoring has measured its windows by then


def feedback(parts: ServiceParts, request: Request) -> FeedbackResponse:
    """Record an outcome once, count it, and return its status.

    Raises `Refusal`: 404 if the log has no such prediction, 409 if several have the request id or
    the opposite outcome is recorded, 400 if the outcome was known before the decision time, 503 if
    it can't be written.
    """
    try:
        response = _record_outcome(parts, request)
    except Refusal as refusal:
        parts.metrics.feedback.labels(refusal.error).inc()
        raise
    parts.metrics.feedback.labels(response.status).inc()
    return response


def _record_outcome(parts: ServiceParts, request: Request) -> FeedbackResponse:
    report, predictions = request.body, parts.settings.predictions
    prediction = _find_prediction(predictions, report)
    identity = prediction["prediction_id"]
    decided_at, label = prediction["decision_time"], int(report.outcome)
    if report.known_at < decided_at:
        reason = "before the prediction's decision time"
        fields = [{"field": "known_at", "reason": reason}]
        raise Refusal(400, "invalid request", f"known_at: {reason}.", fields=fields)

    outcome = {
        "prediction_id": identity, "request_id": prediction["request_id"],
        "key": prediction["key"], "label": label,
        "known_at": report.known_at.astimezone(UTC).isoformat(), "told_by": request.client,
        "told_at": datetime.now(UTC).isoformat(),
    }  # fmt: skip
    recorded = _append_once(reader.outcomes_file(predictions), outcome)
    if recorded not in (None, label):
        raise Refusal(
            409, "another outcome stands",
            "The opposite outcome is recorded for this prediction. It stays.",
        )  # fmt: skip
    new = "recorded late" if report.known_at - decided_at > LATE_AFTER else "recorded"
    status = new if recorded is None else "already recorded"
    return FeedbackResponse(
        prediction_id=identity, request_id=prediction["request_id"], status=status
    )


def _find_prediction(predictions: Path, report: FeedbackRequest) -> dict[str, Any]:
    """Return the one prediction that `report` names, whichever client asked for it."""
    if report.prediction_id is not None:
        found = reader.find_predictions(predictions, "prediction_id", report.prediction_id)
    else:
        found = reader.find_predictions(predictions, "request_id", str(report.request_id))
    if not found:
        raise Refusal(
            404, "unknown prediction",
            "The prediction log has no such id. Send the `prediction_id` of the response.",
        )  # fmt: skip
    if len(found) > 1:
        raise Refusal(
            409, "several predictions",
            "Several predictions have this request id. Send the `prediction_id` of one of them.",
            fields=[
                {"field": "prediction_id", "reason": "one of several",
                 **{name: str(value) for name, value in each.items()}}
                for each in found
            ],
        )  # fmt: skip
    return found[0]


def _append_once(file: Path, outcome: dict[str, Any]) -> int | None:
    """Append `outcome`; return the label already recorded for its prediction, if any."""
    try:
        recorded: int | None = durable_files.append_once(file, json.dumps(outcome), _label_by_id)
    except OSError as error:
        raise part_unavailable(
            "unavailable",
            f"The outcome can't be written ({error}). Nothing of it is recorded. Free some space "
            "on the disk, then send it again.",
        ) from error
    return recorded


def _label_by_id(line: bytes) -> tuple[str, int]:
    """Outcomes of an older version have no `prediction_id`; theirs is their request id."""
    outcome = json.loads(line)
    return outcome.get("prediction_id", outcome["request_id"]), outcome["label"]
