"""The rollout controller: reads the evidence on the challenger and applies the rollout policy.

Each move names the generation of the release document that it was decided on. If two controllers
run at once, one succeeds; the other gets `SupersededError` and changes nothing. The next call
completes a move whose process was killed.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pipelines.registry import versions
from pipelines.release import promotion, rollout_evidence, rollout_policy
from pipelines.release.audit import approval_rules, recorder
from pipelines.release.rollout_policy import ChallengerState, RolloutDecision
from serving.release.document import Challenger, Release
from settings import Settings

logger = logging.getLogger(__name__)
ROLLOUT_AUTHOR = "rollout"


def control_rollout(
    settings: Settings, as_of: datetime, *, live: bool, shadow_days: int | None = None
) -> dict[str, Any]:
    """Take the challenger's next step if it is due at `as_of`; return the decision.

    Pass `live=True` if requests arrive in real time: then scoring time counts, and so do all
    logged requests. `shadow_days` replaces `rollout.shadow.days`.
    Raises `LoopError`, and moves nothing, if the audit trail, log or labels can't be read.
    """
    params = settings.params()
    rollout_policy.require_rollout_policy(params["rollout"])
    if shadow_days is not None:
        params["rollout"]["shadow"]["days"] = shadow_days
    release = recover_and_read_release(settings)
    document = release.document
    if not isinstance(document, Release) or document.challenger is None:
        nobody = {"action": "stay", "code": "no_challenger", "stage": None, "version": None}
        return {**nobody, "told": "No challenger."}
    challenger = document.challenger
    version = challenger.model.version
    rows = rollout_evidence.read_stage_requests(
        settings, release, challenger, params, as_of, live=live
    )
    evidence = rollout_evidence.gather_evidence(settings, document, challenger, rows, params, as_of)
    # Overrides expire by the wall clock, also in a replay of past days.
    overridden = sorted(approval_rules.active_overrides(
        release.trail.entries, version, challenger.model.digest, datetime.now(UTC)
    ))  # fmt: skip
    decision = rollout_policy.next_rollout_step(
        ChallengerState(version, challenger.stage, challenger.since), evidence, params["rollout"],
        as_of, live=live, overridden=overridden,
    )  # fmt: skip
    recorded = {
        **asdict(evidence), "as_of": as_of.isoformat(),
        "overridden": overridden, "shadow_days": params["rollout"]["shadow"]["days"],
    }  # fmt: skip
    percent = params["rollout"]["canary"]["percent"]
    decision, recorded = _apply_decision(settings, document, version, decision, percent, recorded)
    return {
        "action": decision.action, "code": decision.code, "stage": challenger.stage,
        "version": version, "evidence": recorded, "told": describe_decision(version, decision),
    }  # fmt: skip


def recover_and_read_release(settings: Settings) -> recorder.RecordedRelease:
    """Complete a killed change, if there is one, and return the recorded release."""
    seen: list[recorder.RecordedRelease] = []
    recorder.record_change(
        settings,
        lambda release: seen.append(release),
        by=ROLLOUT_AUTHOR,
        why="looks, changes nothing",
    )
    return seen[0]


def rollout_challenger(settings: Settings) -> Challenger | None:
    """Return the challenger in shadow or canary; None also during an experiment."""
    challenger = recover_and_read_release(settings).document.challenger
    return None if challenger is None or challenger.stage == "experiment" else challenger


def start_rollout(settings: Settings, version: str, *, why: str, by: str) -> dict[str, Any]:
    """Put a gated version into shadow, or make it champion if there is none. Idempotent.

    It replaces an older challenger, but not an experiment. A refusal (freeze, missing approval) is
    returned as `refused`; other errors are those of `promotion.challenge`.
    """
    document = recover_and_read_release(settings).document
    try:
        if not isinstance(document, Release) or document.champion.version == version:
            first = f"the first model: there is no champion to compare it with. {why}"
            return {**promotion.promote(settings, version, why=first, by=by), "stage": "champion"}
        _withdraw_older_challenger(settings, document, version, by)
        if settings.staging_url:
            from pipelines.release import staging_checks

            staging_checks.check_in_staging(settings, version)
        current = document.challenger
        if current is None or current.model.version != version:
            promotion.challenge(settings, version, "shadow", why=why, by=by)
    except approval_rules.RefusedError as refusal:
        return {"version": None, "stage": None, "refused": str(refusal), "code": refusal.code}
    return {"version": version, "before": document.champion.version, "stage": "shadow"}


def _withdraw_older_challenger(
    settings: Settings, document: Release, version: str, by: str
) -> None:
    challenger = document.challenger
    if challenger is None or challenger.model.version == version:
        return
    if challenger.stage == "experiment":
        raise approval_rules.RefusedError(
            f"Version {version} is not released: an experiment with version "
            f"{challenger.model.version} is running. Run `mlops experiment stop`, then `mlops "
            f"challenge {version}`.", code="experiment_under_way",
        )  # fmt: skip
    newer = f"version {version} is newer and takes its place"
    promotion.withdraw(settings, why=newer, by=by, bar=False, generation=document.generation)


def _apply_decision(
    settings: Settings, document: Release, version: str, decision: RolloutDecision,
    percent: float, evidence: dict[str, Any],
) -> tuple[RolloutDecision, dict[str, Any]]:  # fmt: skip
    """Record and apply the decision; return the final one, and the evidence with its code."""
    if decision.action in {"advance", "promote"} and versions.missing_versions(settings, version):
        gone = "the version was deleted in the registry, so it gets no more traffic"
        decision = RolloutDecision("withdraw", gone, "deleted")
    evidence = {**evidence, "code": decision.code}
    how: dict[str, Any] = {
        "why": decision.why, "by": ROLLOUT_AUTHOR, "evidence": evidence,
        "generation": document.generation,
    }  # fmt: skip
    try:
        if decision.action == "advance":
            promotion.challenge(settings, version, "canary", percent, **how)
        elif decision.action == "promote":
            promotion.promote(settings, version, **how)
        elif decision.action == "withdraw":
            promotion.withdraw(settings, **how)
    except (recorder.SupersededError, approval_rules.RefusedError) as refusal:
        # Not a failure: another change came first, or a person must act. The next call looks again.
        logger.warning("%s", refusal)
        decision = RolloutDecision("stay", str(refusal), refusal.code)
    return decision, evidence


def describe_decision(version: str, decision: RolloutDecision) -> str:
    """Return one sentence: what happened to the version, and why."""
    outcome = {
        "stay": "stays in its stage", "advance": "moves from the shadow to the canary",
        "promote": "is champion", "withdraw": "is withdrawn, the champion serves alone",
    }[decision.action]  # fmt: skip
    return f"Version {version} {outcome}: {decision.why}"
