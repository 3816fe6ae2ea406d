"""The rollout controller: reads the evidence on the challenger and applies the rollout policy.

Each move names the generation of the release document that it was decided on. If two controllers
run at once, one succeeds; the other gets `SupersededError` and changes nothing. The next call
completes a move whose process was killed.
"""

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pipelines.registry.versions import missing_versions
from pipelines.release import promotion, rollout_evidence, rollout_policy
from pipelines.release.audit import approval_rules, recorder
from pipelines.release.audit.recorder import EntryFields
from pipelines.release.rollout_policy import RolloutDecision
from pipelines.release.staging_checks import check_in_staging
from serving.release.document import Challenger, Release
from settings import Settings

logger = logging.getLogger(__name__)
ROLLOUT_AUTHOR = "rollout"
OUTCOMES = {
    "stay": "stays in its stage",
    "advance": "moves from the shadow to the canary",
    "promote": "is champion",
    "withdraw": "is withdrawn, the champion serves alone",
}


def control_rollout(
    settings: Settings, as_of: datetime, *, live: bool, shadow_days: int | None = None
) -> dict[str, Any]:
    """Take the challenger's next step if it is due at `as_of`; return the decision.

    Pass `live=True` if requests arrive in real time: then scoring time counts, and so do all
    logged requests. `shadow_days` replaces `rollout.shadow.days`.
    Raises `LoopError`, and moves nothing, if the audit trail, log or labels can't be read.
    """
    params = settings.params()
    policy = params["rollout"]
    rollout_policy.require_rollout_policy(policy)
    if shadow_days is not None:
        policy["shadow"]["days"] = shadow_days
    release = recover_and_read_release(settings)
    document = release.document
    if not isinstance(document, Release) or document.challenger is None:
        return {
            "action": "stay", "code": "no_challenger", "stage": None, "version": None,
            "told": "No challenger.",
        }  # fmt: skip
    challenger, model = document.challenger, document.challenger.model
    rows = rollout_evidence.read_stage_requests(
        settings, release, challenger, params, as_of, live=live
    )
    evidence = rollout_evidence.gather_evidence(settings, document, challenger, rows, params, as_of)
    # Overrides expire by the wall clock, also in a replay of past days.
    overridden = sorted(approval_rules.active_overrides(
        release.trail.entries, model.version, model.digest, datetime.now(UTC)
    ))  # fmt: skip
    decision = rollout_policy.next_rollout_step(
        challenger.stage, challenger.since, evidence, policy, as_of, live=live,
        overridden=overridden,
    )  # fmt: skip
    if decision.action in {"advance", "promote"} and missing_versions(settings, model.version):
        gone = "the version was deleted in the registry, so it gets no more traffic"
        decision = RolloutDecision("withdraw", gone, "deleted")
    recorded = {
        **asdict(evidence), "as_of": as_of.isoformat(), "overridden": overridden,
        "shadow_days": policy["shadow"]["days"], "code": decision.code,
    }  # fmt: skip
    entry: EntryFields = {
        "why": decision.why, "by": ROLLOUT_AUTHOR, "evidence": recorded,
        "generation": document.generation,
    }  # fmt: skip
    percent = policy["canary"]["percent"]
    decision = _apply_decision(settings, model.version, decision, percent, entry)
    text = f"Version {model.version} {OUTCOMES[decision.action]}: {decision.why}"
    return {
        "action": decision.action, "code": decision.code, "stage": challenger.stage,
        "version": model.version, "evidence": recorded, "told": text,
    }  # fmt: skip


def _apply_decision(
    settings: Settings, version: str, decision: RolloutDecision, percent: float, entry: EntryFields
) -> RolloutDecision:
    """Apply the decision and return it, or the refusal of the change."""
    try:
        if decision.action == "advance":
            promotion.challenge(settings, version, "canary", percent, **entry)
        elif decision.action == "promote":
            promotion.promote(settings, version, **entry)
        elif decision.action == "withdraw":
            promotion.withdraw(settings, **entry)
    except (recorder.SupersededError, approval_rules.RefusedError) as refusal:
        # Not a failure: another change came first, or a person must act. The next call looks again.
        logger.warning("%s", refusal)
        return RolloutDecision("stay", str(refusal), refusal.code)
    return decision


def recover_and_read_release(settings: Settings) -> recorder.RecordedRelease:
    """Complete a killed change, if there is one, and return the recorded release."""
    looks: EntryFields = {"by": ROLLOUT_AUTHOR, "why": "looks, changes nothing"}
    with recorder.open_release(settings, looks) as (recorded, _):
        return recorded


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
        older = document.challenger
        is_challenger = older is not None and older.model.version == version
        if older is not None and not is_challenger:
            _withdraw_older_challenger(settings, document, older, version, by)
        check_in_staging(settings, version)
        if not is_challenger:
            promotion.challenge(settings, version, "shadow", why=why, by=by)
    except approval_rules.RefusedError as refusal:
        return {"version": None, "stage": None, "refused": str(refusal), "code": refusal.code}
    return {"version": version, "before": document.champion.version, "stage": "shadow"}


def _withdraw_older_challenger(
    settings: Settings, document: Release, older: Challenger, version: str, by: str
) -> None:
    if older.stage == "experiment":
        raise approval_rules.RefusedError(
            f"Version {version} is not released: an experiment with version "
            f"{older.model.version} is running. Run `mlops experiment stop`, then `mlops "
            f"challenge {version}`.", code="experiment_under_way",
        )  # fmt: skip
    newer = f"version {version} is newer and takes its place"
    promotion.withdraw(settings, why=newer, by=by, bar=False, generation=document.generation)
