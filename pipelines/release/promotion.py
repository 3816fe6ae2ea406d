"""Promote, challenge and withdraw versions; each move is one audit entry.

Every function may be called again after a kill. Pass `generation` for optimistic concurrency: the
generation of the release document on which the caller decided. Commands for people omit it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from pipelines.registry import versions
from pipelines.registry.download import download_version
from pipelines.release import approvals
from pipelines.release.audit import approval_rules
from pipelines.release.audit.approval_rules import BARRED, LIFTS_BAR, RefusedError
from pipelines.release.audit.recorder import RecordedRelease, ReleaseChange, record_change
from pipelines.release.audit.release_document import ReleaseDocument, read_release_document
from pipelines.training import mlflow_tracking
from serving.release.document import Challenger, ServedModel, Stage, first_fault
from settings import Settings, UserError

EvidenceFields = Mapping[str, Any]


def promote(
    settings: Settings, version: str, *, why: str, by: str, evidence: EvidenceFields | None = None,
    again: bool = False, generation: int | None = None, at: datetime | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make `version` the champion and withdraw the challenger, if there is one.

    If there is a staging service, check the version there first. Pass `again=True` for a version
    that was rolled back or withdrawn before. Raises `RefusedError` during a freeze, without a
    required approval, or for such a version without `again`; `LoopError` if the files differ from
    the registered ones.
    """
    at = at or datetime.now(UTC)
    if settings.staging_url:
        from pipelines.release import staging_checks

        staging_checks.check_in_staging(settings, version)
    served = download_version(settings, version)

    def decide(recorded: RecordedRelease) -> ReleaseChange | None:
        current = recorded.document.champion
        if current and replace(current, path=served.path) == served:
            return None
        _require_allowed(settings, recorded, served, again, at)
        return recorded.propose_change(
            "promote", version, champion=served, challenger=None,
            details=bar_lift_details(recorded, version),
        )  # fmt: skip

    before, after = record_change(
        settings, decide, by=by, why=why, evidence=evidence, generation=generation, at=at
    )
    return {
        "version": version, "before": before.champion and before.champion.version,
        "digest": served.digest, "generation": after.generation,
    }  # fmt: skip


def challenge(
    settings: Settings, version: str, stage: Stage, percent: float = 0.0, *, why: str, by: str,
    evidence: EvidenceFields | None = None, name: str | None = None, again: bool = False,
    generation: int | None = None, at: datetime | None = None,
) -> ReleaseDocument:  # fmt: skip
    """Make `version` the challenger in this stage, with `percent` of the keys (0 for a shadow).

    Raises the errors of `promote`; a shadow needs no approval, because it answers no request.
    Raises `UserError` without a champion, for an impossible stage, or if another version is the
    challenger.
    """
    at = at or datetime.now(UTC)
    served = download_version(settings, version)
    try:
        wanted = Challenger(served, stage, percent, at, name)
    except ValidationError as error:
        fault = first_fault(error)
        raise UserError(f"Version {version} can't be this challenger: {fault}.") from error

    def decide(recorded: RecordedRelease) -> ReleaseChange | None:
        current = recorded.document.challenger
        if current is not None and replace(current, since=wanted.since) == wanted:
            return None
        _require_no_other_challenger(recorded.document, version)
        _require_allowed(settings, recorded, served, again, at, shadow=stage == "shadow")
        return recorded.propose_change(
            "challenge", version, challenger=wanted, details=bar_lift_details(recorded, version)
        )

    return record_change(
        settings, decide, by=by, why=why, evidence=evidence, generation=generation, at=at
    )[1]


def withdraw(
    settings: Settings, *, why: str, by: str, evidence: EvidenceFields | None = None,
    bar: bool = True, generation: int | None = None, at: datetime | None = None,
) -> ReleaseDocument:  # fmt: skip
    """Remove the challenger. With `bar` it can return only by `again=True`."""

    def decide(recorded: RecordedRelease) -> ReleaseChange | None:
        challenger = recorded.document.challenger
        if challenger is None:
            return None
        version = challenger.model.version
        details = {BARRED: version} if bar else {}
        return recorded.propose_change("withdraw", version, challenger=None, details=details)

    return record_change(
        settings, decide, by=by, why=why, evidence=evidence, generation=generation, at=at
    )[1]


def champion_version(settings: Settings) -> str | None:
    """Return the champion's version in the release document; None if there is none."""
    with versions.reraise_mlflow_errors(settings):
        document = read_release_document(settings, mlflow_tracking.mlflow_client(settings))
    return document.champion.version if document.champion else None


def _require_allowed(
    settings: Settings, recorded: RecordedRelease, served: ServedModel, again: bool, at: datetime,
    *, shadow: bool = False,
) -> None:  # fmt: skip
    version, entries = served.version, recorded.trail.entries
    if recorded.document.frozen:
        reason = _describe_freeze(recorded)
        raise RefusedError(f"Version {version} is not released: {reason}", code="frozen")
    bar = approval_rules.barred_by(entries, version)
    if bar is not None and not again:
        raise RefusedError(
            f"Version {version} is not released: {bar.by} took it back on {bar.at:%Y-%m-%d %H:%M} "
            f"UTC ({bar.why}). If the cause is fixed, run `mlops promote {version} --again`.",
            code="barred",
        )
    if not shadow:
        approvals.require_approval(settings, entries, version, served.digest, at)


def bar_lift_details(recorded: RecordedRelease, version: str) -> dict[str, Any]:
    """Return the entry's details that lift the bar on `version`; empty if it is not barred."""
    barred = approval_rules.barred_by(recorded.trail.entries, version)
    return {LIFTS_BAR: True} if barred else {}


def _describe_freeze(recorded: RecordedRelease) -> str:
    freezes = [entry for entry in recorded.trail.entries if entry.action == "freeze"]
    author = f" by {freezes[-1].by} ({freezes[-1].why})" if freezes else ""
    return f"releases are frozen{author}. Run `mlops unfreeze` to lift it."


def _require_no_other_challenger(document: ReleaseDocument, version: str) -> None:
    if document.champion is None:
        raise UserError(
            f"There is no champion to challenge. Run `mlops promote {version}` instead."
        )
    if document.champion.version == version:
        raise UserError(f"Version {version} is the champion and can't challenge itself.")
    if document.challenger is not None and document.challenger.model.version != version:
        raise UserError(
            f"Version {document.challenger.model.version} is the challenger. Run `mlops withdraw` "
            "first."
        )
