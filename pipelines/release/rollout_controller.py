"""The rollout's controller: reads record, log and labels, asks `rollout.step`, and moves.

Every move is made on the generation that it was decided on: of two controllers one moves, and the
other sees it. A killed one is carried on by the next look.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from features import partitions
from monitoring.measures import arms
from pipelines.registry import versions
from pipelines.release import promotion, rollout_policy
from pipelines.release.audit import approval_rules, recorder
from pipelines.release.rollout_policy import ChallengerState, RolloutDecision
from serving.prediction_log import reader
from serving.release.document import Challenger, Release
from settings import Settings

logger = logging.getLogger(__name__)
ROLLOUT_AUTHOR = "rollout"


def control_rollout(
    settings: Settings, as_of: datetime, *, live: bool, shadow_days: int | None = None
) -> dict[str, Any]:
    """Looks at the challenger as of `as_of`, and moves it if it is due; what was done, told.

    `live`: the requests come in real time, so their speed counts, and all that are logged do.
    `shadow_days` replaces `rollout.shadow.days` if it is given.
    Raises `LoopError` where the record, the log or the labels can't be read: nothing moved then.
    """
    params = settings.params()
    rollout_policy.require_rollout_policy(params["rollout"])
    if shadow_days is not None:
        params["rollout"]["shadow"]["days"] = shadow_days
    stands = recover_and_read_release(settings)
    state = stands.document
    if not isinstance(state, Release) or state.challenger is None:
        nobody = {"action": "stay", "code": "no_challenger", "stage": None, "version": None}
        return {**nobody, "told": "No challenger."}
    challenger = state.challenger
    rows = read_stage_requests(settings, stands, challenger, params, as_of, live=live)
    evidence = gather_evidence(settings, state, challenger, rows, params, as_of)
    now = ChallengerState(challenger.model.version, challenger.stage, challenger.since)
    # By the clock of the record: a replay's moment is not the one that an override was given for.
    set_aside = sorted(approval_rules.active_overrides(
        stands.trail.entries, now.version, challenger.model.digest, datetime.now(UTC)
    ))  # fmt: skip
    decision = rollout_policy.next_rollout_step(
        now, evidence, params["rollout"], as_of, live=live, set_aside=set_aside
    )
    if decision.action in {"advance", "promote"} and versions.missing_versions(
        settings, now.version
    ):
        gone = "the version was deleted in the registry, so it gets no more of the traffic"
        decision = RolloutDecision("withdraw", gone, "deleted")
    kept = {
        **evidence.as_dict(), "as_of": as_of.isoformat(), "code": decision.code,
        "overridden": set_aside, "shadow_days": params["rollout"]["shadow"]["days"],
    }  # fmt: skip
    try:
        _move(settings, state, now, decision, params["rollout"]["canary"]["percent"], kept)
    except (recorder.SupersededError, approval_rules.RefusedError) as refusal:
        # Somebody else has moved, or has to say yes first: no failure, and seen at the next look.
        logger.warning("%s", refusal)
        decision = RolloutDecision("stay", str(refusal), refusal.code)
    version = challenger.model.version
    return {
        "action": decision.action, "code": decision.code, "stage": challenger.stage,
        "version": version, "evidence": kept, "told": describe_decision(version, decision),
    }  # fmt: skip


def recover_and_read_release(settings: Settings) -> recorder.RecordedRelease:
    """Where the record stands, after what a killed change left undone was carried on."""
    seen: list[recorder.RecordedRelease] = []
    recorder.record_change(
        settings, lambda found: seen.append(found), by=ROLLOUT_AUTHOR, why="looks, changes nothing"
    )
    return seen[0]


def rollout_challenger(settings: Settings) -> Challenger | None:
    """Who is on the way to be champion; none of an experiment, which has a plan of its own."""
    found = recover_and_read_release(settings).document.challenger
    return None if found is None or found.stage == "experiment" else found


def start_rollout(settings: Settings, version: str, *, why: str, by: str) -> dict[str, Any]:
    """Starts the rollout of a gated version: in the shadow, or as champion if there is none.

    An older version on its way gives way to it; an experiment does not. May be called again. What
    is refused (a freeze, a missing approval) is told as `refused`; else raises as
    `release.challenge` does.
    """
    state = recover_and_read_release(settings).document
    try:
        if not isinstance(state, Release) or state.champion.version == version:
            first = f"the first model: there is no champion to compare it with. {why}"
            return {**promotion.promote(settings, version, why=first, by=by), "stage": "champion"}
        _make_way(settings, state, version, by)
        if settings.staging_url:
            from pipelines.release import staging_checks

            staging_checks.check_in_staging(settings, version)
        current = state.challenger
        if current is None or current.model.version != version:
            promotion.challenge(settings, version, "shadow", why=why, by=by)
    except approval_rules.RefusedError as refusal:
        return {"version": None, "stage": None, "refused": str(refusal), "code": refusal.code}
    return {"version": version, "before": state.champion.version, "stage": "shadow"}


def _make_way(settings: Settings, state: Release, version: str, by: str) -> None:
    challenger = state.challenger
    if challenger is None or challenger.model.version == version:
        return
    if challenger.stage == "experiment":
        raise approval_rules.RefusedError(
            f"Version {version} is not released: an experiment with version "
            f"{challenger.model.version} is under way. `mlops experiment stop`, then `mlops "
            f"challenge {version}`.", code="experiment_under_way",
        )  # fmt: skip
    newer = f"version {version} is newer and takes its place"
    promotion.withdraw(settings, why=newer, by=by, bar=False, generation=state.generation)


def gather_evidence(
    settings: Settings, state: Release, challenger: Challenger, rows: pd.DataFrame,
    params: dict[str, Any], as_of: datetime,
) -> arms.ArmEvidence:  # fmt: skip
    """The evidence that `rows` and the labels known by `as_of` give on the challenger."""
    policy = params["rollout"]
    if challenger.stage != "shadow":
        return arms.canary_evidence(rows, policy, as_of)
    # Another champion's answers are no pair to compare with.
    rows = rows[rows["model_version"] == state.champion.version]
    since = as_of - timedelta(days=policy["shadow"]["max_days"] + 1)
    return arms.shadow_evidence(
        rows, read_known_labels(settings, since, as_of), policy, params["costs"], as_of
    )


def read_stage_requests(
    settings: Settings,
    stands: recorder.RecordedRelease,
    challenger: Challenger,
    params: dict[str, Any],
    as_of: datetime,
    *,
    live: bool,
    days: int = 0,
) -> pd.DataFrame:
    """The requests since the challenger's stage began; of a replay, those before `as_of`.

    When it began is told by generations: a replay's clock is not the record's.
    """
    days = days or max(params["rollout"][part]["max_days"] for part in ("shadow", "canary"))
    log = reader.read_predictions(
        settings.predictions, since=as_of - timedelta(days=days + 1), until=None if live else as_of
    )
    rows = arms.requests_in_stage(log, challenger.model.version, challenger.stage)
    return rows[rows["generation"] >= stage_start_generation(stands, challenger)]


def stage_start_generation(stands: recorder.RecordedRelease, challenger: Challenger) -> int:
    """The generation with which the challenger's stage began; approvals since do not end it."""
    first = stands.document.generation
    for entry in reversed(stands.trail.entries):
        held = entry.after["challenger"]
        if not held or (held["version"], held["stage"], held["percent"], held["name"]) != (
            challenger.model.version, challenger.stage, challenger.percent, challenger.name,
        ):  # fmt: skip
            break
        first = entry.after["generation"]
    return first


def read_known_labels(settings: Settings, since: datetime, as_of: datetime) -> pd.DataFrame:
    """`key`, `label` and `known_at` of the validated outcomes from `since` on; maybe none.

    Harm has to be stopped without labels, too.
    """
    from usecase.target import LABEL_FEED, labels

    known = partitions.read_days(settings.data, "validated", LABEL_FEED, since.date(), as_of.date())
    if known.empty:
        none = pd.DataFrame({"key": [], "label": [], "known_at": pd.to_datetime([], utc=True)})
        return none.astype({"key": object})
    return labels(known)


def _move(
    settings: Settings,
    state: Release,
    now: ChallengerState,
    decision: RolloutDecision,
    percent: float,
    kept: dict[str, Any],
) -> None:
    version = now.version
    how: dict[str, Any] = {
        "why": decision.why, "by": ROLLOUT_AUTHOR, "evidence": kept, "generation": state.generation,
    }  # fmt: skip
    if decision.action == "advance":
        promotion.challenge(settings, version, "canary", percent, **how)
    elif decision.action == "promote":
        promotion.promote(settings, version, **how)
    elif decision.action == "withdraw":
        promotion.withdraw(settings, **how)


def describe_decision(version: str, decision: RolloutDecision) -> str:
    """In a sentence: what became of the version, and why."""
    done = {
        "stay": "stays as it is", "advance": "goes from the shadow into the canary",
        "promote": "is champion", "withdraw": "is withdrawn, the champion serves alone",
    }[decision.action]  # fmt: skip
    return f"Version {version} {done}: {decision.why}"
