"""POST /explain: what spoke for an answer, and which change would turn it."""

from __future__ import annotations

from serving.http.asgi import Request, Response
from serving.http.predict import PredictionHandlers
from serving.http.schemas import ExplainResponse
from serving.lookup import FeatureLookup
from serving.models.explanation import explain_row
from usecase import request as cases
from usecase.request import PredictRequest


class ExplanationHandler:
    """Asks the champion alone, and logs nothing: nobody acts on an explanation."""

    def __init__(self, lookup: FeatureLookup, predicting: PredictionHandlers) -> None:
        self._lookup, self._predicting = lookup, predicting

    def one(self, request: Request) -> Response:
        asked = PredictRequest.model_validate_json(request.body)
        serving = self._predicting.serving()
        champion = serving.release.champion
        # The changed cases are judged by what is known at the moment of the given one.
        changes = cases.alternatives(asked)
        rows = [cases.entity_row(one) for one in (asked, *(changed for _, changed in changes))]
        found, degraded = self._lookup.read(rows, [cases.decision_time(asked)] * len(rows))
        own, *others = serving.champion.predict([row.values for row in found]).tolist()
        decision = own >= champion.threshold
        turned = [
            told
            for (told, _), probability in zip(changes, others, strict=True)
            if (probability >= champion.threshold) != decision
        ]
        told = explain_row(serving.champion, found[0].values)
        largest = sorted(told.contributions.items(), key=lambda pair: -abs(pair[1]))
        answer = ExplainResponse(
            request_id=request.id, model_version=champion.version, probability=own,
            decision=decision, base=told.base, contributions=dict(largest),
            flipped_by=turned[0] if turned else None, degraded=degraded,
        )  # fmt: skip
        return Response(answer.model_dump_json().encode())
