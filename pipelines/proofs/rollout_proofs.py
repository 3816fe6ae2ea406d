"""Proofs of the rollout: each bad challenger is withdrawn by its guard, in requests and days.

Cases and labels are real, scores are drawn. The service's own routing and scoring write the log,
and the rollout's own evidence and policy decide.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
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
from pipelines.proofs.proof_runs import Proof
from pipelines.release import rollout_policy
from pipelines.release.rollout_policy import RolloutDecision
from pipelines.runtime import stage_command
from serving.models.evaluator import Evaluator
from serving.models.holder import LoadedRelease
from serving.models.scoring import score_cases
from serving.release.document import Challenger, Release, ServedModel, Stage
from settings import Settings

DAY = timedelta(days=1)


def prove_rollout(
    settings: Settings, only: str | None = None, policy: dict[str, Any] | None = None
) -> Iterator[Proof]:
    """Take each case whose name contains `only` through shadow and canary, from `as_of` on.

    Raises `UserError` if there is no such case.
    """
    params = settings.params()
    policy = policy or params["rollout"]
    rollout_policy.require_rollout_policy(policy)
    cases = challenger_cases(policy)
    numbers = proof_runs.choose_cases([case.name for case in cases], only)
    start = stage_command.parse_time(params["as_of"])
    rows, labels = draw_scored_cases(
        settings.use_case, start, policy["shadow"]["max_days"] + 2, params
    )
    horizon = settings.use_case.horizon
    for number in numbers:
        yield _prove_challenger(
            cases[number], rows, labels, policy, params["costs"], start, horizon
        )


def _prove_challenger(
    case: ChallengerCase, rows: pd.DataFrame, labels: pd.DataFrame, policy: dict[str, Any],
    costs: dict[str, float], start: datetime, horizon: timedelta,
) -> Proof:  # fmt: skip
    """Take the case through the stages until it is champion or withdrawn, or the days are over."""
    known = labels if case.labelled else labels[:0]
    stage: Stage = case.first_stage
    n_sent, n_reached, entered = 0, 0, start
    evidence, decision = ArmEvidence(), RolloutDecision("stay", "the days are over", "in_shadow")
    while n_sent < len(rows):
        release = _loaded_release(case, stage, policy["canary"]["percent"])
        log: list[dict[str, Any]] = []
        for as_of, batch in _looks(rows[n_sent:]):
            log += [_log_record(release, row) for row in batch.to_dict("records")]
            n_sent += len(batch)
            frame = arms.requests_in_stage(pd.DataFrame(log), "2", stage)
            if stage == "shadow":
                evidence = arms.shadow_evidence(frame, known, policy, costs, as_of, horizon=horizon)
            else:
                evidence = arms.canary_evidence(frame, policy, as_of)
            decision = rollout_policy.next_rollout_step(stage, entered, evidence, policy, as_of)
            if decision.action != "stay":
                break
        n_reached += evidence.requests
        if decision.action != "advance":
            break
        stage, entered = "canary", as_of
    days = (as_of - start) / DAY
    return build_challenger_proof(case, stage, decision, n_reached, evidence.labels, days)


def _looks(rows: pd.DataFrame) -> Iterator[tuple[datetime, pd.DataFrame]]:
    """Yield the time of each look and the rows since the look before."""
    days = rows["decision_time"].dt.floor("D")
    looks = np.where(days == days.iloc[0], np.arange(len(rows)) // REQUESTS_BETWEEN_LOOKS, 0)
    newest = days.drop_duplicates(keep="last").index
    for (day, _), batch in rows.groupby([days, looks]):
        at = day + DAY if batch.index[-1] in newest else batch["decision_time"].iloc[-1]
        yield at.to_pydatetime(), batch


def _log_record(release: LoadedRelease, row: dict[str, Any]) -> dict[str, Any]:
    """Score the case as the service does; return the record of its log."""
    [scored] = score_cases(release, [row["key"]], [row])
    return {
        "key": row["key"], "decision_time": row["decision_time"],
        "logged_at": row["decision_time"], "probability": scored.probability,
        "model_version": scored.model.version, **scored.log_fields(),
    }  # fmt: skip


def _loaded_release(case: ChallengerCase, stage: Stage, percent: float) -> LoadedRelease:
    champion, challenger = (
        ServedModel(version, f"{int(version):064x}", version, 0.2) for version in ("1", "2")
    )
    since = datetime(2000, 1, 1, tzinfo=UTC)
    share = 0.0 if stage == "shadow" else percent
    score = case.score if stage == case.first_stage or not case.cause else healthy_score
    return LoadedRelease(
        Release(1, champion, since, Challenger(challenger, stage, share, since)),
        _evaluator(lambda row: row["score"]), _evaluator(score),
    )  # fmt: skip


def _evaluator(score: ScoreCase) -> Evaluator:
    """Return what replaces a loaded model in the service."""
    model = SimpleNamespace(predict=lambda rows: np.array([score(row) for row in rows]))
    return cast(Evaluator, model)


def build_challenger_proof(
    case: ChallengerCase, stage: Stage, decision: RolloutDecision, requests: int, labels: int,
    days: float,
) -> Proof:  # fmt: skip
    """Return the proof: it holds if the case's own guard ended it, within its limits."""
    limits = [
        f"{most:g} {unit}"
        for most, unit in ((case.max_requests, "requests"), (case.max_days, "days"))
        if math.isfinite(most)
    ]
    must = ("withdraw" if case.cause else "promote", case.cause)
    in_time = requests <= case.max_requests and days <= case.max_days
    return Proof(
        case.name, f"{case.cause or 'promote'}, within {' and '.join(limits)}",
        in_time and (decision.action, decision.cause) == must,
        f"{decision.cause or decision.action}, in {stage}",
        f"{requests:,} requests, {labels:,} labels, {days:.1f} days", decision.why,
    )  # fmt: skip
