"""POST /explain: the contributions to a prediction, and a change that would flip its decision."""

from __future__ import annotations

from serving.http.asgi import Request, Response
from serving.http.predict import PredictionHandlers
from serving.http.schemas import ExplainResponse
from serving.lookup import FeatureLookup
from serving.models.explanation import explain_row
from usecase import request as use_case
from usecase.request import PredictRequest


class ExplanationHandler:
    """Explains the champion's prediction. Logs nothing, since nobody acts on an explanation."""

    def __init__(self, lookup: FeatureLookup, predictions: PredictionHandlers) -> None:
        self._lookup, self._predictions = lookup, predictions

    def explain(self, request: Request) -> Response:
        """Handle the route."""
        case = PredictRequest.model_validate_json(request.body)
        loaded = self._predictions.loaded_release()
        champion = loaded.release.champion
        # The changed cases get the features known at the given case's decision time.
        changes = use_case.alternatives(case)
        keys = [use_case.entity_row(each) for each in (case, *(changed for _, changed in changes))]
        rows, degraded = self._lookup.read(keys, [use_case.decision_time(case)] * len(keys))
        probability, *others = loaded.champion.predict([row.values for row in rows]).tolist()
        decision = probability >= champion.threshold
        flips = [
            change
            for (change, _), other in zip(changes, others, strict=True)
            if (other >= champion.threshold) != decision
        ]
        explanation = explain_row(loaded.champion, rows[0].values)
        largest_first = sorted(explanation.contributions.items(), key=lambda pair: -abs(pair[1]))
        response = ExplainResponse(
            request_id=request.id, model_version=champion.version, probability=probability,
            decision=decision, base=explanation.base, contributions=dict(largest_first),
            flipped_by=flips[0] if flips else None, degraded=degraded,
        )  # fmt: skip
        return Response(response.model_dump_json().encode())
