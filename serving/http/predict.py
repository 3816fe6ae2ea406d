"""The prediction routes: look up the features, score the cases, log them, respond; explain one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from features.loop_time import loop_time
from features.online_reader import OnlineRow
from serving.errors import part_unavailable
from serving.http.answer import Answer
from serving.http.api import Request
from serving.http.schemas import ExplainResponse, use_case_schemas
from serving.models.explanation import explain_row
from serving.models.holder import LoadedRelease
from serving.models.scoring import score_cases
from serving.prediction_log.records import prediction_id
from serving.wiring import ServiceParts
from settings import LoopError

RELEASE_FIRST = "Release a model; the service takes it up within a second, with no restart."


def predict(parts: ServiceParts, request: Request) -> Answer:
    """POST /predict: one case, with features from the online store."""
    [prediction] = _look_up_and_predict(parts, request, "/predict", [request.id], [request.body])
    return prediction


def predict_batch(parts: ServiceParts, request: Request) -> BaseModel:
    """POST /predict_batch: many cases, all answered and logged, or none."""
    bodies = request.body.requests
    ids = [f"{request.id}-{number}" for number in range(len(bodies))]
    predictions = _look_up_and_predict(parts, request, "/predict_batch", ids, bodies)
    schemas = use_case_schemas(parts.settings.use_case)
    return schemas.batch_response(predictions=predictions)


def score(parts: ServiceParts, request: Request) -> Answer:
    """POST /score: one case with the features in the request. Looks nothing up."""
    decided_at = request.body.decision_time.astimezone(UTC)
    case = _case(request, "/score", request.id, request.body.key, decided_at, {})
    row = OnlineRow(request.body.features.model_dump(), decided_at)
    [prediction] = _predict(parts, [case], [row], degraded=False)
    return prediction


def explain(parts: ServiceParts, request: Request) -> ExplainResponse:
    """POST /explain: the contributions to a prediction, and a change that would flip its decision.

    Logs nothing, since nobody acts on an explanation.
    """
    loaded = loaded_release(parts)
    champion, threshold = loaded.champion, loaded.release.champion.threshold
    # The changed cases get the features known at the given case's decision time.
    use_case = parts.settings.use_case
    changes = use_case.alternatives(request.body)
    cases = [request.body, *(changed for _, changed in changes)]
    times = [use_case.decision_time(request.body)] * len(cases)
    rows, degraded = parts.lookup.read([use_case.entity_row(case) for case in cases], times)
    probability, *others = champion.predict([row.values for row in rows]).tolist()
    decision = probability >= threshold
    flips = [
        change
        for (change, _), other in zip(changes, others, strict=True)
        if (other >= threshold) != decision
    ]
    base, contributions = explain_row(champion, rows[0].values)
    largest_first = sorted(contributions.items(), key=lambda pair: -abs(pair[1]))
    return ExplainResponse(
        request_id=request.id, model_version=loaded.release.champion.version,
        probability=probability, decision=decision, base=base,
        contributions=dict(largest_first), flipped_by=flips[0] if flips else None,
        degraded=degraded,
    )  # fmt: skip


def loaded_release(parts: ServiceParts) -> LoadedRelease:
    """Return the release that is served. Raises `Refusal` (503) if there is none yet."""
    if parts.models.current is None:
        raise part_unavailable("no model yet", f"{parts.models.problem} {RELEASE_FIRST}")
    return parts.models.current


def _look_up_and_predict(
    parts: ServiceParts, request: Request, route: str, ids: Sequence[str],
    bodies: Sequence[Any],
) -> list[Answer]:  # fmt: skip
    loaded_release(parts)  # without a release, no lookup
    use_case = parts.settings.use_case
    times = [use_case.decision_time(body) for body in bodies]
    rows, degraded = parts.lookup.read([use_case.entity_row(body) for body in bodies], times)
    cases = [
        _case(request, route, case_id, use_case.key(body), time, body.model_dump(mode="json"))
        for case_id, body, time in zip(ids, bodies, times, strict=True)
    ]
    return _predict(parts, cases, rows, degraded=degraded)


def _case(
    request: Request, route: str, request_id: str, key: str, decided_at: datetime,
    content: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return a case as the prediction log records it, with the id of its answer."""
    asked = {
        "client": request.client, "route": route, "request_id": request_id,
        "body_digest": request.digest,
    }  # fmt: skip
    return {
        "prediction_id": prediction_id(**asked), **asked, "key": key,
        "decision_time": decided_at, "request": content,
    }  # fmt: skip


def _predict(
    parts: ServiceParts, cases: Sequence[dict[str, Any]], rows: Sequence[OnlineRow], *,
    degraded: bool,
) -> list[Answer]:  # fmt: skip
    loaded, metrics = loaded_release(parts), parts.metrics
    answer = use_case_schemas(parts.settings.use_case).response
    try:
        scores = score_cases(loaded, [case["key"] for case in cases], [row.values for row in rows])
        decided = [
            (case, row, scored, scored.probability >= scored.model.threshold)
            for case, row, scored in zip(cases, rows, scores, strict=True)
        ]
        responses = [
            answer(
                prediction_id=case["prediction_id"], request_id=case["request_id"],
                probability=scored.probability, decision=decision,
                model_version=scored.model.version, decision_time=case["decision_time"],
                features_as_of=row.as_of, degraded=degraded, fallback=loaded.fallback,
            )
            for case, row, scored, decision in decided
        ]  # fmt: skip
    except Exception:  # the request was valid: this is the service's fault
        metrics.count_failure(loaded.release.champion.version)
        raise
    for scored in scores:
        metrics.count_challenger(scored)
    now = datetime.now(UTC)
    common = {
        "degraded": degraded, "fallback": loaded.fallback, "logged_at": now,
        "asked_at": loop_time(parts.settings, now),
    }  # fmt: skip
    records = [
        {
            **case,
            "probability": scored.probability,
            "decision": decision,
            "model_version": scored.model.version,
            "model_digest": scored.model.digest,
            **scored.log_fields(),
            **common,
            "published_until": row.published,
            "features_as_of": row.as_of,
            "features": row.values,
        }
        for case, row, scored, decision in decided
    ]
    try:
        parts.log.append(*records)
    except LoopError:
        metrics.not_logged.inc(len(records))
        raise
    for _, row, scored, decision in decided:
        metrics.count_prediction(scored, decision)
        for column in loaded.champion.unknown_categories(row.values):
            metrics.unknown.labels(column).inc()
    return responses
