"""The prediction routes: look up the features, score the cases, log them, respond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from features.online_reader import OnlineRow
from serving.errors import Refusal, part_unavailable
from serving.http.asgi import Request, Response
from serving.http.schemas import BatchRequest, BatchResponse, ScoreRequest
from serving.lookup import FeatureLookup
from serving.metrics import Metrics
from serving.models.holder import LoadedRelease, ModelHolder
from serving.models.scoring import ScoredCase, score_cases
from serving.prediction_log.writer import PredictionLog
from settings import LoopError
from usecase import request as use_case
from usecase.request import PredictRequest, PredictResponse

RELEASE_FIRST = "Release a model; the service takes it up within a second, with no restart."


@dataclass(frozen=True)
class PredictionCase:
    """A case to predict, as the prediction log records it."""

    id: str
    key: str
    decided_at: datetime  # the decision time, UTC
    request: dict[str, Any]


class PredictionHandlers:
    """Handlers of the prediction routes. Safe to share between threads."""

    def __init__(
        self, lookup: FeatureLookup, models: ModelHolder, log: PredictionLog, metrics: Metrics
    ) -> None:
        self._lookup, self._models, self._log, self._metrics = lookup, models, log, metrics

    def predict(self, request: Request) -> Response:
        """POST /predict: one case, with features from the online store."""
        body = PredictRequest.model_validate_json(request.body)
        [prediction] = self._look_up_and_predict([request.id], [body])
        return Response(prediction.model_dump_json().encode())

    def predict_batch(self, request: Request) -> Response:
        """POST /predict_batch: many cases, all answered and logged, or none."""
        bodies = BatchRequest.model_validate_json(request.body).requests
        ids = [f"{request.id}-{number}" for number in range(len(bodies))]
        predictions = self._look_up_and_predict(ids, bodies)
        return Response(BatchResponse(predictions=predictions).model_dump_json().encode())

    def score(self, request: Request) -> Response:
        """POST /score: one case with the features in the request. Looks nothing up."""
        body = ScoreRequest.model_validate_json(request.body)
        values = body.features.model_dump()  # type: ignore[attr-defined]
        decided_at = body.decision_time.astimezone(UTC)
        case = PredictionCase(request.id, body.key, decided_at, {})
        [prediction] = self._predict([case], [OnlineRow(values, decided_at)], degraded=False)
        return Response(prediction.model_dump_json().encode())

    def loaded_release(self) -> LoadedRelease:
        """Return the release that is served. Raises `Refusal` (503) if there is none yet."""
        if self._models.current is None:
            raise part_unavailable("no model yet", f"{self._models.problem} {RELEASE_FIRST}")
        return self._models.current

    def _look_up_and_predict(
        self, ids: Sequence[str], bodies: Sequence[PredictRequest]
    ) -> list[PredictResponse]:
        self.loaded_release()  # without a release, no lookup
        times = [use_case.decision_time(body) for body in bodies]
        rows, degraded = self._lookup.read([use_case.entity_row(body) for body in bodies], times)
        cases = [
            PredictionCase(case_id, use_case.key(body), time, body.model_dump(mode="json"))
            for case_id, body, time in zip(ids, bodies, times, strict=True)
        ]
        return self._predict(cases, rows, degraded=degraded)

    def _predict(
        self, cases: Sequence[PredictionCase], rows: Sequence[OnlineRow], *, degraded: bool
    ) -> list[PredictResponse]:
        loaded = self.loaded_release()
        try:
            scores = score_cases(
                loaded, [case.key for case in cases], [row.values for row in rows]
            )  # fmt: skip
            responses = [
                use_case.response(
                    case.id, scored.probability, scored.probability >= scored.model.threshold,
                    scored.model.version, case.decided_at, row.as_of, degraded,
                    loaded.fallback,
                )
                for case, scored, row in zip(cases, scores, rows, strict=True)
            ]  # fmt: skip
        except Refusal:
            raise
        except LoopError:
            self._metrics.count_failure(loaded.release.champion.version)
            raise
        except Exception as error:  # the request was valid: this is the service's fault
            self._metrics.count_failure(loaded.release.champion.version)
            raise RuntimeError("The prediction does not fit the response's schema.") from error
        self._log_and_count(loaded, cases, rows, scores, degraded)
        return responses

    def _log_and_count(
        self, loaded: LoadedRelease, cases: Sequence[PredictionCase], rows: Sequence[OnlineRow],
        scores: Sequence[ScoredCase], degraded: bool,
    ) -> None:  # fmt: skip
        now = datetime.now(UTC)
        for scored in scores:
            self._metrics.count_challenger(scored)
        records = [
            {
                "request_id": case.id,
                "key": case.key,
                "probability": scored.probability,
                "decision": scored.probability >= scored.model.threshold,
                "model_version": scored.model.version,
                "model_digest": scored.model.digest,
                **scored.log_fields(),
                "degraded": degraded,
                "fallback": loaded.fallback,
                "decision_time": case.decided_at,
                "features_as_of": row.as_of,
                "logged_at": now,
                "request": case.request,
                "features": row.values,
            }
            for case, scored, row in zip(cases, scores, rows, strict=True)
        ]
        try:
            self._log.append_all(records)
        except LoopError:
            self._metrics.not_logged.inc(len(records))
            raise
        for scored, row in zip(scores, rows, strict=True):
            self._metrics.count_prediction(scored, scored.probability >= scored.model.threshold)
            for column in loaded.champion.unknown_categories(row.values):
                self._metrics.unknown.labels(column).inc()
