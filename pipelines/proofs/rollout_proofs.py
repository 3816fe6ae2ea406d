"""Is every bad challenger gone within the requests, labels and days that are stated for it?

Real cases and labels, with scores drawn for them; the service's own routing and scoring make the
log, and what reads it and decides is what does so in production. A list of cases and a loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pandas as pd

from features import partitions
from monitoring.measures import arms
from monitoring.measures.arms import ArmEvidence
from pipelines.proofs.challengers import (
    REQUESTS_BETWEEN_LOOKS,
    ChallengerCase,
    ScoreCase,
    challenger_cases,
    healthy_score,
)
from pipelines.release import rollout_policy
from pipelines.release.rollout_policy import ChallengerState, RolloutDecision
from pipelines.runtime import stage_command
from serving.models.evaluator import Evaluator
from serving.models.holder import LoadedRelease
from serving.models.scoring import score_case
from serving.release.document import Challenger, Release, ServedModel, Stage
from settings import LoopError, Settings


@dataclass(frozen=True)
class ChallengerProof:
    """What became of a case, and after how much."""

    case: ChallengerCase
    stage: Stage
    decision: RolloutDecision
    requests: int
    labels: int
    days: float

    @property
    def holds(self) -> bool:
        """Whether it ended by its own guard, and in time."""
        wanted = "withdraw" if self.case.cause else "promote"
        ended = (self.decision.action, self.decision.cause) == (wanted, self.case.cause)
        return ended and self.requests <= self.case.requests and self.days <= self.case.days


def prove_rollout(
    settings: Settings, policy: dict[str, Any] | None = None
) -> list[ChallengerProof]:
    """Every case through shadow and canary, on the days from the parameters' `as_of` on."""
    params = settings.params()
    policy = policy or params["rollout"]
    rollout_policy.require_rollout_policy(policy)
    start = stage_command.parse_time(params["as_of"])
    rows, labels = draw_scored_cases(start, policy["shadow"]["max_days"] + 2, params)
    return [
        _through(case, rows, labels, policy, params["costs"], start)
        for case in challenger_cases(policy)
    ]


def draw_scored_cases(
    start: datetime, days: int, params: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The source's cases, with scores drawn so that labels follow them; and the labels."""
    from usecase import source, statements, target

    end = start + timedelta(days=days)
    feeds = {}
    for feed in (target.SPINE_FEED, target.LABEL_FEED):
        since = (start - timedelta(days=2)).date()
        dates = partitions.day_range(since, (end + timedelta(days=1)).date())
        feeds[feed] = pd.concat([source.fetch(feed, day) for day in dates])
    labels = statements.newest(target.labels(feeds[target.LABEL_FEED]), ["key"])
    spine = target.spine(feeds[target.SPINE_FEED])[["key", "decision_time"]]
    rows = spine.merge(labels[["key", "label"]], on="key")
    rows = rows[(rows["decision_time"] >= start) & (rows["decision_time"] < end)]
    rows = rows.sort_values(["decision_time", "key"], ignore_index=True)
    if rows.empty:
        raise LoopError(f"The source has no labelled cases from {start:%Y-%m-%d} on.")
    rng = np.random.default_rng(params["seed"])
    drawn = np.where(
        rows["label"] == 1, rng.beta(2.2, 3.5, len(rows)), rng.beta(1.6, 6.0, len(rows))
    )
    return rows.assign(
        score=drawn, noise=rng.normal(0.01, 0.05, len(rows)), another=rng.permutation(drawn),
        mean=float(drawn.mean()), number=range(len(rows)),
    ), labels  # fmt: skip


class _Model:
    """Stands where a loaded model stands: says what the case's challenger would say."""

    def __init__(self, says: ScoreCase) -> None:
        self._says = says

    def predict(self, rows: list[dict[str, Any]]) -> np.ndarray:
        return np.array([self._says(row) for row in rows])


def _through(
    case: ChallengerCase, rows: pd.DataFrame, labels: pd.DataFrame, policy: dict[str, Any],
    costs: dict[str, float], start: datetime,
) -> ChallengerProof:  # fmt: skip
    """The case's way until it is champion or withdrawn, or the days are over."""
    known = labels if case.labelled else labels[:0]
    now: Stage = case.begins
    seen, reached, begun = 0, 0, start
    evidence, decision = ArmEvidence(), RolloutDecision("stay", "the days are over", "in_shadow")
    while decision.action in ("stay", "advance") and seen < len(rows):
        log: list[dict[str, Any]] = []
        for as_of, batch in _looks(rows[seen:], case, now, policy):
            log += batch
            seen += len(batch)
            frame = arms.requests_in_stage(pd.DataFrame(log), "2", now)
            if now == "shadow":
                evidence = arms.shadow_evidence(frame, known, policy, costs, as_of)
            else:
                evidence = arms.canary_evidence(frame, policy, as_of)
            decision = rollout_policy.next_rollout_step(
                ChallengerState("2", now, begun), evidence, policy, as_of
            )
            if decision.moves:
                break
        reached += evidence.requests
        if decision.action != "advance":
            break
        now, begun = "canary", as_of
    days = (as_of - start) / timedelta(days=1)
    return ChallengerProof(case, now, decision, reached, evidence.labels, days)


def _looks(
    rows: pd.DataFrame, case: ChallengerCase, now: Stage, policy: dict[str, Any]
) -> Iterator[tuple[datetime, list[dict[str, Any]]]]:
    """What the service logs between two looks: (time of the look, records)."""
    serving = _serving(case, now, policy["canary"]["percent"])
    day = rows["decision_time"].dt.floor("D")
    batch: list[dict[str, Any]] = []
    for row, this, following in zip(
        rows.to_dict("records"), day, [*day[1:], day.iloc[-1] + timedelta(days=1)], strict=True
    ):
        said = score_case(serving, row["key"], row)
        batch.append({
            "key": row["key"], "decision_time": row["decision_time"],
            "logged_at": row["decision_time"], "probability": said.probability,
            "model_version": said.model.version, **said.log_fields(),
        })  # fmt: skip
        if following != this:
            yield following.to_pydatetime(), batch
            batch = []
        elif this == day.iloc[0] and len(batch) == REQUESTS_BETWEEN_LOOKS:
            yield row["decision_time"].to_pydatetime(), batch
            batch = []


def _serving(case: ChallengerCase, now: Stage, percent: float) -> LoadedRelease:
    champion, rival = (
        ServedModel(version, f"{number:064x}", version, 0.2)
        for number, version in ((1, "1"), (2, "2"))
    )
    since = datetime(2000, 1, 1, tzinfo=UTC)
    share = 0.0 if now == "shadow" else percent
    says = case.says if now == case.begins or not case.cause else healthy_score
    return LoadedRelease(
        Release(1, champion, since, Challenger(rival, now, share, since)),
        cast(Evaluator, _Model(lambda row: row["score"])), cast(Evaluator, _Model(says)),
    )  # fmt: skip


def print_challenger_proofs(found: list[ChallengerProof]) -> bool:
    """Prints the table; whether all held."""
    from rich.console import Console
    from rich.table import Table

    table = Table("challenger", "must end by", "", "ended", "evidence", box=None, pad_edge=False)
    for each in found:
        by = each.decision.cause or each.decision.action
        after = f"{each.requests:,} requests, {each.labels:,} labels, {each.days:.1f} days"
        table.add_row(
            f"{each.case.name}: {each.case.what}", _limit(each.case),
            "[green]proven[/]" if each.holds else "[red]NOT PROVEN[/]",
            f"in {each.stage} by {by} after {after}", each.decision.why,
        )  # fmt: skip
    console = Console()
    console.width = max(console.width, 140)  # a narrower one can't be read
    console.print(table)
    return all(each.holds for each in found)


def _limit(case: ChallengerCase) -> str:
    limits = [
        f"{most:g} {unit}"
        for most, unit in ((case.requests, "requests"), (case.days, "days"))
        if math.isfinite(most)
    ]
    return f"{case.cause or 'promote'}, within {' and '.join(limits)}"
