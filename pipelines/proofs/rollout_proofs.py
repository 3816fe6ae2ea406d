"""Proofs of the rollout: each bad challenger is withdrawn by its guard, in requests and days.

Cases and labels are real, scores are drawn. The service's own routing and scoring write the log,
and the rollout's own evidence and policy decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pandas as pd

from monitoring.measures import arms
from monitoring.measures.arms import ArmEvidence
from pipelines.proofs import proof_runs
from pipelines.proofs.challengers import (
    REQUESTS_BETWEEN_LOOKS,
    ChallengerCase,
    ScoreCase,
    challenger_cases,
    draw_scored_cases,
    healthy_score,
)
from pipelines.release import rollout_policy
from pipelines.release.rollout_policy import ChallengerState, RolloutDecision
from pipelines.runtime import stage_command
from serving.models.evaluator import Evaluator
from serving.models.holder import LoadedRelease
from serving.models.scoring import score_cases
from serving.release.document import Challenger, Release, ServedModel, Stage
from settings import Settings


@dataclass(frozen=True)
class ChallengerProof:
    """Result of a case: last stage and decision, and what it took."""

    case: ChallengerCase
    stage: Stage
    decision: RolloutDecision
    requests: int
    labels: int
    days: float

    @property
    def holds(self) -> bool:
        """Whether its own guard ended it, within its limits."""
        case, action = self.case, "withdraw" if self.case.cause else "promote"
        ended = (self.decision.action, self.decision.cause) == (action, case.cause)
        return ended and self.requests <= case.max_requests and self.days <= case.max_days


def prove_rollout(
    settings: Settings, policy: dict[str, Any] | None = None
) -> list[ChallengerProof]:
    """Take each case through shadow and canary, from the parameters' `as_of` on."""
    params = settings.params()
    policy = policy or params["rollout"]
    rollout_policy.require_rollout_policy(policy)
    start = stage_command.parse_time(params["as_of"])
    rows, labels = draw_scored_cases(start, policy["shadow"]["max_days"] + 2, params)
    return [
        _prove_case(case, rows, labels, policy, params["costs"], start)
        for case in challenger_cases(policy)
    ]


class _Model:
    """Replaces a loaded model in the service: returns the scores of a case's challenger."""

    def __init__(self, score: ScoreCase) -> None:
        self._score = score

    def predict(self, rows: list[dict[str, Any]]) -> np.ndarray:
        return np.array([self._score(row) for row in rows])


def _prove_case(
    case: ChallengerCase, rows: pd.DataFrame, labels: pd.DataFrame, policy: dict[str, Any],
    costs: dict[str, float], start: datetime,
) -> ChallengerProof:  # fmt: skip
    """Take the case through the stages until it is champion or withdrawn, or the days are over."""
    known = labels if case.labelled else labels[:0]
    stage: Stage = case.first_stage
    n_sent, n_reached, entered = 0, 0, start
    evidence, decision = ArmEvidence(), RolloutDecision("stay", "the days are over", "in_shadow")
    while decision.action in ("stay", "advance") and n_sent < len(rows):
        log: list[dict[str, Any]] = []
        for as_of, batch in _looks(rows[n_sent:], case, stage, policy):
            log += batch
            n_sent += len(batch)
            frame = arms.requests_in_stage(pd.DataFrame(log), "2", stage)
            if stage == "shadow":
                evidence = arms.shadow_evidence(frame, known, policy, costs, as_of)
            else:
                evidence = arms.canary_evidence(frame, policy, as_of)
            decision = rollout_policy.next_rollout_step(
                ChallengerState("2", stage, entered), evidence, policy, as_of
            )
            if decision.moves:
                break
        n_reached += evidence.requests
        if decision.action != "advance":
            break
        stage, entered = "canary", as_of
    days = (as_of - start) / timedelta(days=1)
    return ChallengerProof(case, stage, decision, n_reached, evidence.labels, days)


def _looks(
    rows: pd.DataFrame, case: ChallengerCase, stage: Stage, policy: dict[str, Any]
) -> Iterator[tuple[datetime, list[dict[str, Any]]]]:
    """Yield the time of each look and the service's log records since the look before."""
    release = _loaded_release(case, stage, policy["canary"]["percent"])
    days = rows["decision_time"].dt.floor("D")
    batch: list[dict[str, Any]] = []
    next_days = [*days[1:], days.iloc[-1] + timedelta(days=1)]
    for row, day, next_day in zip(rows.to_dict("records"), days, next_days, strict=True):
        [scored] = score_cases(release, [row["key"]], [row])
        batch.append({
            "key": row["key"], "decision_time": row["decision_time"],
            "logged_at": row["decision_time"], "probability": scored.probability,
            "model_version": scored.model.version, **scored.log_fields(),
        })  # fmt: skip
        if next_day != day:
            yield next_day.to_pydatetime(), batch
            batch = []
        elif day == days.iloc[0] and len(batch) == REQUESTS_BETWEEN_LOOKS:
            yield row["decision_time"].to_pydatetime(), batch
            batch = []


def _loaded_release(case: ChallengerCase, stage: Stage, percent: float) -> LoadedRelease:
    champion, challenger = (
        ServedModel(version, f"{number:064x}", version, 0.2)
        for number, version in ((1, "1"), (2, "2"))
    )
    since = datetime(2000, 1, 1, tzinfo=UTC)
    share = 0.0 if stage == "shadow" else percent
    score = case.score if stage == case.first_stage or not case.cause else healthy_score
    return LoadedRelease(
        Release(1, champion, since, Challenger(challenger, stage, share, since)),
        cast(Evaluator, _Model(lambda row: row["score"])), cast(Evaluator, _Model(score)),
    )  # fmt: skip


def print_challenger_proofs(proofs: list[ChallengerProof]) -> bool:
    """Print the table; return whether all proofs hold."""
    from rich.table import Table

    table = Table("challenger", "must end by", "", "ended", "evidence", box=None, pad_edge=False)
    for proof in proofs:
        by = proof.decision.cause or proof.decision.action
        after = f"{proof.requests:,} requests, {proof.labels:,} labels, {proof.days:.1f} days"
        table.add_row(
            f"{proof.case.name}: {proof.case.description}", _limits(proof.case),
            proof_runs.mark_text(proof.holds),
            f"in {proof.stage} by {by} after {after}", proof.decision.why,
        )  # fmt: skip
    proof_runs.print_table(table, min_width=140)
    return all(proof.holds for proof in proofs)


def _limits(case: ChallengerCase) -> str:
    limits = [
        f"{most:g} {unit}"
        for most, unit in ((case.max_requests, "requests"), (case.max_days, "days"))
        if math.isfinite(most)
    ]
    return f"{case.cause or 'promote'}, within {' and '.join(limits)}"
