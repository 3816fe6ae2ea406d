"""The evidence on a challenger: its logged requests and the labels known about them."""

from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from features.validated_cases import read_labels
from monitoring.measures import arms
from pipelines.release.audit import recorder
from serving.prediction_log.decisions import read_decisions
from serving.release.document import Challenger, Release
from settings import Settings


def gather_evidence(
    settings: Settings, document: Release, challenger: Challenger, rows: pd.DataFrame,
    params: dict[str, Any], as_of: datetime,
) -> arms.ArmEvidence:  # fmt: skip
    """Return the evidence on the challenger from `rows` and the labels known by `as_of`."""
    policy = params["rollout"]
    if challenger.stage != "shadow":
        return arms.canary_evidence(rows, policy, as_of)
    # Requests that another champion answered are no pairs with today's champion.
    rows = rows[rows["model_version"] == document.champion.version]
    since = as_of - timedelta(days=policy["shadow"]["max_days"] + 1)
    labels = read_labels(settings, since.date(), as_of.date())
    return arms.shadow_evidence(
        rows, labels, policy, params["costs"], as_of, horizon=settings.use_case.horizon
    )


def read_stage_requests(
    settings: Settings, release: recorder.RecordedRelease, challenger: Challenger,
    params: dict[str, Any], as_of: datetime, *, live: bool, days: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Return the decisions since the challenger's stage began; in a replay before `as_of`.

    `days` limits how far back the log is read; 0 means the longest `max_days` of the policy.
    """
    days = days or max(params["rollout"][part]["max_days"] for part in ("shadow", "canary"))
    since = as_of - timedelta(days=days + 1)
    log = read_decisions(settings, since=since, until=None if live else as_of)
    rows = arms.requests_in_stage(log, challenger.model.version, challenger.stage)
    # By generation, not by time: in a replay the log's clock is not the audit trail's.
    return rows[rows["generation"] >= stage_start_generation(release, challenger)]


def stage_start_generation(release: recorder.RecordedRelease, challenger: Challenger) -> int:
    """Return the generation in which the challenger's stage began; later approvals do not count."""
    first = release.document.generation
    wanted = {
        "version": challenger.model.version, "stage": challenger.stage,
        "percent": challenger.percent, "name": challenger.name,
    }  # fmt: skip
    for entry in reversed(release.trail.entries):
        if not wanted.items() <= (entry.after["challenger"] or {}).items():
            break
        first = entry.after["generation"]
    return first
