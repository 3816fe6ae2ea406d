"""Approvals, rejections and overrides by people: each an entry of the record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.registry import versions
from pipelines.registry.versions import reraise_mlflow_errors
from pipelines.release import rollout_policy
from pipelines.release.audit import recorder
from pipelines.release.audit.approval_rules import RefusedError, active_overrides, find_approval
from pipelines.release.audit.release_document import ReleaseChange, ReleaseDocument
from pipelines.release.audit.trail import AuditEntry
from pipelines.training import mlflow_tracking
from settings import Settings, UserError

POLICIES = ("auto", "manual")
# What an override can set aside: the approval, and the causes by which a rollout withdraws. What
# the gates before registration refuse has no version that could be let through.
OVERRIDABLE_GUARDS = ("approval", *rollout_policy.GUARDS)


def approval_policy(settings: Settings) -> str:
    """`auto` or `manual`. Raises `UserError` if the parameters say neither."""
    found = settings.params()["release"].get("policy")
    if found not in POLICIES:
        raise UserError(
            f"release.policy in {settings.params_file} must be auto or manual, not {found!r}."
        )
    return str(found)


def require_approval(
    settings: Settings, entries: Sequence[AuditEntry], version: str, digest: str, at: datetime
) -> None:
    """Raises `RefusedError` where the policy is manual and neither approval nor override holds."""
    if approval_policy(settings) == "auto" or "approval" in active_overrides(
        entries, version, digest, at
    ):
        return
    found, why = find_approval(entries, version, digest, at)
    if found is None:
        raise RefusedError(
            f"Version {version} is not released: {why}. Look at its card and gates, then "
            f"`mlops approve {version} --by NAME --reason TEXT`.", code="not_approved",
        )  # fmt: skip


def approve(
    settings: Settings, version: str, *, by: str, why: str, days: float | None = None,
    digest: str | None = None, generation: int | None = None, at: datetime | None = None,
) -> ReleaseDocument:  # fmt: skip
    """Approves the files that the version has now, for `days`.

    With `digest`, of the files that the approver looked at, raises `UserError` if they are others.
    """
    at = at or datetime.now(UTC)
    days = settings.params()["release"]["approval_days"] if days is None else days
    if not days > 0:
        raise UserError(f"An approval holds for more than {days} days.")
    details = {"until": (at + timedelta(days=days)).isoformat()}
    return _decide(settings, "approve", version, details, by, why, digest, generation, at)


def reject(
    settings: Settings, version: str, *, by: str, why: str,
    generation: int | None = None, at: datetime | None = None,
) -> ReleaseDocument:  # fmt: skip
    """Ends what approval there is. Raises `UserError` if the version is being served."""

    def serves(found: recorder.RecordedRelease) -> None:
        state = found.document
        arms = [state.champion, state.challenger and state.challenger.model]
        if version in [model.version for model in arms if model]:
            raise UserError(
                f"Version {version} is being served: `mlops rollback` or `mlops withdraw` first."
            )

    return _decide(settings, "reject", version, {}, by, why, None, generation, at, serves)


def override(
    settings: Settings, version: str, *, gate: str, until: datetime, by: str, why: str,
    generation: int | None = None, at: datetime | None = None,
) -> ReleaseDocument:  # fmt: skip
    """Lets the version pass `gate`, one of `OVERRIDABLE_GUARDS`, until then, and shows it
    everywhere.
    """
    at = at or datetime.now(UTC)
    if gate not in OVERRIDABLE_GUARDS:
        raise UserError(
            f"There is no override of '{gate}', only of {', '.join(OVERRIDABLE_GUARDS)}. What "
            f"fails a gate "
            "before its registration has no version: its limit stands in usecase/params.yaml."
        )
    if until <= at:
        raise UserError(f"An override needs an end that is to come, not {until:%Y-%m-%d %H:%M}.")
    details = {"gate": gate, "until": until.astimezone(UTC).isoformat()}
    return _decide(settings, "override", version, details, by, why, None, generation, at)


def _decide(
    settings: Settings, action: str, version: str, details: dict[str, Any], by: str, why: str,
    expected: str | None, generation: int | None, at: datetime | None, check: Any = bool,
) -> ReleaseDocument:  # fmt: skip
    with reraise_mlflow_errors(settings):
        digest = versions.require_registered_version(
            settings, mlflow_tracking.mlflow_client(settings), version
        ).tags["digest"]
    if expected is not None and not digest.startswith(expected):
        raise UserError(
            f"Nothing was recorded: you looked at {expected[:12]}, and version {version} has the "
            f"digest {digest[:12]}."
        )

    def step(found: recorder.RecordedRelease) -> ReleaseChange:
        check(found)
        return found.propose_change(action, version, details={"digest": digest, **details})

    return recorder.record_change(settings, step, by=by, why=why, generation=generation, at=at)[1]
