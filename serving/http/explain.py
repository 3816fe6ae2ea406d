"""POST /explain: the contributions to a prediction, and a change that would flip its decision."""

from __future__ import annotations

from serving.http.api import Request
from serving.http.predict import loaded_release
from serving.http.schemas import ExplainResponse
from serving.models.explanation import explain_row
from serving.wiring import ServiceParts
from usecase import request as use_case


def explain(parts: ServiceParts, request: Request) -> ExplainResponse:
    """Explain the champion's prediction. Logs nothing, since nobody acts on an explanation."""
    loaded = loaded_release(parts)
    champion, threshold = loaded.champion, loaded.release.champion.threshold
    # The changed cases get the features known at the given case's decision time.
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
