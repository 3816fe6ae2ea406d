"""Approve or reject a version, or override a guard; each decision of a person is an audit entry."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

from pipelines.registry import versions
from pipelines.release import rollout_policy
from pipelines.release.audit import recorder
from pipelines.release.audit.approval_rules import RefusedError, active_overrides, find_approval
from pipelines.release.audit.recorder import EntryFields
from pipelines.release.audit.release_document import ReleaseDocument, recorded_arms
from pipelines.release.audit.trail import AuditEntry, arm_versions
from settings import Settings, UserError

# The gates before registration can't be overridden: what they refuse has no version.
OVERRIDABLE_GUARDS = ("approval", *rollout_policy.GUARDS)


def require_approval(
    settings: Settings, entries: Sequence[AuditEntry], version: str, digest: str, at: datetime
) -> None:
    """Raise `RefusedError` if the policy is manual and no approval or override is active.

    Raises `UserError` if `release.policy` is not `auto` or `manual`.
    """
    policy = settings.params()["release"].get("policy")
    if policy not in {"auto", "manual"}:
        raise UserError(
            f"release.policy in {settings.params_file} must be auto or manual, not {policy!r}."
        )
    if policy == "auto" or "approval" in active_overrides(entries, version, digest, at):
        return
    approval, problem = find_approval(entries, version, digest, at)
    if approval is None:
        raise RefusedError(
            f"Version {version} is not released: {problem}. Check its card and gates, then run "
            f"`mlops approve {version} --by NAME --reason TEXT`.", code="not_approved",
        )  # fmt: skip


def approve(
    settings: Settings, version: str, *, days: float | None = None, digest: str | None = None,
    **entry: Unpack[EntryFields],
) -> ReleaseDocument:  # fmt: skip
    """Approve the version's current files for `days`; the default is `release.approval_days`.

    Pass the `digest` that the approver looked at, or its first characters: raises `UserError` if
    the files have another one.
    """
    entry["at"] = at = entry.get("at") or datetime.now(UTC)
    days = settings.params()["release"]["approval_days"] if days is None else days
    if not days > 0:
        raise UserError(f"An approval must last more than 0 days, not {days}.")
    details = {"until": (at + timedelta(days=days)).isoformat()}
    return _record_decision(settings, "approve", version, details, entry, digest or "")


def reject(settings: Settings, version: str, **entry: Unpack[EntryFields]) -> ReleaseDocument:
    """End the version's approval. Raises `UserError` if the version is being served."""
    return _record_decision(settings, "reject", version, {}, entry)


def override(
    settings: Settings, version: str, *, gate: str, until: datetime, **entry: Unpack[EntryFields]
) -> ReleaseDocument:
    """Let the version pass `gate`, one of `OVERRIDABLE_GUARDS`, until a time; shown everywhere."""
    entry["at"] = at = entry.get("at") or datetime.now(UTC)
    if gate not in OVERRIDABLE_GUARDS:
        raise UserError(
            f"'{gate}' can't be overridden, only {', '.join(OVERRIDABLE_GUARDS)}. A model that "
            "fails a gate before registration has no version. Its limits are in "
            "params.yaml."
        )
    if until <= at:
        ends = f"{until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        raise UserError(f"An override must end in the future, not on {ends}.")
    details = {"gate": gate, "until": until.astimezone(UTC).isoformat()}
    return _record_decision(settings, "override", version, details, entry)


def _record_decision(
    settings: Settings, action: str, version: str, details: dict[str, Any], entry: EntryFields,
    expected: str = "",
) -> ReleaseDocument:  # fmt: skip
    with versions.reraise_mlflow_errors(settings) as client:
        digest = versions.require_registered_version(settings, client, version).tags["digest"]
    if not digest.startswith(expected):
        raise UserError(
            f"Nothing was recorded: you looked at the digest {expected[:12]}, but version "
            f"{version} has {digest[:12]}. Look at the version again."
        )

    with recorder.open_release(settings, entry) as (recorded, change):
        if action == "reject" and version in arm_versions(recorded_arms(recorded.document)):
            raise UserError(
                f"Version {version} is being served. Run `mlops rollback` or `mlops withdraw` "
                "first."
            )
        return change(action, version, {"digest": digest, **details})
