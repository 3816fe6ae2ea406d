"""How does a request become an answer that is on record? Looked up, scored, logged, answered."""

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
from usecase import request as cases
from usecase.request import PredictRequest, PredictResponse

RELEASE_FIRST = "Release a model; the service takes it up within a second, with no restart."


@dataclass(frozen=True)
class PredictionCase:
    """One case to answer: what the log is told of it, and what it was looked up by."""

    id: str
    key: str
    decided_at: datetime
    request: dict[str, Any]


class PredictionHandlers:
    """The handlers of the routes that predict. Safe to share between threads."""

    def __init__(
        self, lookup: FeatureLookup, models: ModelHolder, log: PredictionLog, metrics: Metrics
    ) -> None:
        self._lookup, self._models, self._log, self._metrics = lookup, models, log, metrics

    def one(self, request: Request) -> Response:
        """POST /predict: one case, its features from the online store."""
        asked = PredictRequest.model_validate_json(request.body)
        [answer] = self._predicted([request.id], [asked])
        return Response(answer.model_dump_json().encode())

    def many(self, request: Request) -> Response:
        """POST /predict_batch: many cases at once, answered and logged all or none."""
        asked = BatchRequest.model_validate_json(request.body).requests
        ids = [f"{request.id}-{number}" for number in range(len(asked))]
        answers = self._predicted(ids, asked)
        return Response(BatchResponse(predictions=answers).model_dump_json().encode())

    def given(self, request: Request) -> Response:
        """POST /score: one case whose features the caller has; nothing is looked up."""
        asked = ScoreRequest.model_validate_json(request.body)
        values = asked.features.model_dump()  # type: ignore[attr-defined]
        decided_at = asked.decision_time.astimezone(UTC)
        case = PredictionCase(request.id, asked.key, decided_at, {})
        [answer] = self._answered([case], [OnlineRow(values, decided_at)], degraded=False)
        return Response(answer.model_dump_json().encode())

    def serving(self) -> LoadedRelease:
        """What is served. Raises `Refusal` where there is nothing yet."""
        if self._models.current is None:
            raise part_unavailable("no model yet", f"{self._models.problem} {RELEASE_FIRST}")
        return self._models.current

    def _predicted(
        self, ids: Sequence[str], asked: Sequence[PredictRequest]
    ) -> list[PredictResponse]:
        self.serving()
        moments = [cases.decision_time(one) for one in asked]
        rows, degraded = self._lookup.read([cases.entity_row(one) for one in asked], moments)
        found = [
            PredictionCase(name, cases.key(one), moment, one.model_dump(mode="json"))
            for name, one, moment in zip(ids, asked, moments, strict=True)
        ]
        return self._answered(found, rows, degraded=degraded)

    def _answered(
        self, found: Sequence[PredictionCase], rows: Sequence[OnlineRow], *, degraded: bool
    ) -> list[PredictResponse]:
        serving = self.serving()
        try:
            scores = score_cases(
                serving, [case.key for case in found], [row.values for row in rows]
            )  # fmt: skip
            answers = [
                cases.response(
                    case.id, scored.probability, scored.probability >= scored.model.threshold,
                    scored.model.version, case.decided_at, row.as_of, degraded,
                    serving.fallback,
                )
                for case, scored, row in zip(found, scores, rows, strict=True)
            ]  # fmt: skip
        except Refusal:
            raise
        except LoopError:
            self._metrics.failed(serving.release.champion.version)
            raise
        except Exception as error:  # a pydantic error here is ours: the request was valid
            self._metrics.failed(serving.release.champion.version)
            raise RuntimeError("The prediction does not fit its own schema") from error
        self._record(serving, found, rows, scores, degraded)
        return answers

    def _record(
        self, serving: LoadedRelease, found: Sequence[PredictionCase], rows: Sequence[OnlineRow],
        scores: Sequence[ScoredCase], degraded: bool,
    ) -> None:  # fmt: skip
        now = datetime.now(UTC)
        for scored in scores:
            self._metrics.challenged(scored)
        records = [
            {
                "request_id": case.id,
                "key": case.key,
                "probability": scored.probability,
                "decision": scored.probability >= scored.model.threshold,
                "model_version": scored.model.version,
                "model_digest": scored.model.digest,
                **scored.logged(),
                "degraded": degraded,
                "fallback": serving.fallback,
                "decision_time": case.decided_at,
                "features_as_of": row.as_of,
                "logged_at": now,
                "request": case.request,
                "features": row.values,
            }
            for case, scored, row in zip(found, scores, rows, strict=True)
        ]
        try:
            self._log.append_all(records)
        except LoopError:
            self._metrics.not_logged.inc(len(records))
            raise
        for scored, row in zip(scores, rows, strict=True):
            self._metrics.answered(scored, scored.probability >= scored.model.threshold)
            for column in serving.champion.unknown(row.values):
                self._metrics.unknown.labels(column).inc()
