"""Which version serves, and which stands beside it? Every move, each an entry of the record.

All may be called again after a kill. `generation`, where given, is that of the document on which
the caller decided: a controller gives it, a person who means what he says need not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pipelines.registry import versions
from pipelines.registry.download import download_version
from pipelines.release import approvals
from pipelines.release.audit import approval_rules
from pipelines.release.audit.approval_rules import BARRED, LIFTS_BAR, RefusedError
from pipelines.release.audit.recorder import RecordedRelease, record_change
from pipelines.release.audit.release_document import (
    ReleaseChange,
    ReleaseDocument,
    read_release_document,
)
from pipelines.training import mlflow_tracking
from serving.release.document import Challenger, ServedModel, Stage
from settings import Settings, UserError

EvidenceFields = Mapping[str, Any]


def promote(
    settings: Settings, version: str, *, why: str, by: str, evidence: EvidenceFields | None = None,
    again: bool = False, generation: int | None = None, at: datetime | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Makes `version` the champion; who challenged the one before challenges no more.

    Where there is a staging service, the version answers there first. Raises `RefusedError` if all
    is frozen, the policy wants an approval that there is not, or the version was rolled back
    before and this is not meant (`again`); `LoopError` if its files are not those registered.
    """
    at = at or datetime.now(UTC)
    if settings.staging_url:
        from pipelines.release import staging_checks

        staging_checks.check_in_staging(settings, version)
    served = download_version(settings, version)

    def step(found: RecordedRelease) -> ReleaseChange | None:
        current = found.document.champion
        if current and replace(current, path=served.path) == served:
            return None
        _require_allowed(settings, found, served, again, at)
        return found.propose_change(
            "promote",
            version,
            champion=served,
            challenger=None,
            details=bar_lift_details(found, version),
        )

    before, after = record_change(
        settings, step, by=by, why=why, evidence=evidence, generation=generation, at=at
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
    """Puts `version` beside the champion, or moves it on to this stage and percentage.

    Raises as `promote` does; a shadow, which answers nobody, needs no approval. `UserError` if
    there is no champion, the stage can't be so, or another version is the challenger.
    """
    at = at or datetime.now(UTC)
    served = download_version(settings, version)
    try:
        wanted = Challenger(served, stage, percent, at, name)
    except ValueError as error:
        raise UserError(f"Version {version} can't challenge so: {error}.") from error

    def step(found: RecordedRelease) -> ReleaseChange | None:
        current = found.document.challenger
        if current is not None and replace(current, since=wanted.since) == wanted:
            return None
        _require_free(found.document, version)
        _require_allowed(settings, found, served, again, at, shadow=stage == "shadow")
        return found.propose_change(
            "challenge", version, challenger=wanted, details=bar_lift_details(found, version)
        )

    return record_change(
        settings, step, by=by, why=why, evidence=evidence, generation=generation, at=at
    )[1]


def withdraw(
    settings: Settings,
    *,
    why: str,
    by: str,
    evidence: EvidenceFields | None = None,
    bar: bool = True,
    generation: int | None = None,
    at: datetime | None = None,
) -> ReleaseDocument:
    """The champion alone again; with `bar` the challenger may not come back by itself."""

    def step(found: RecordedRelease) -> ReleaseChange | None:
        challenger = found.document.challenger
        if challenger is None:
            return None
        version = challenger.model.version
        details = {BARRED: version} if bar else {}
        return found.propose_change("withdraw", version, challenger=None, details=details)

    return record_change(
        settings, step, by=by, why=why, evidence=evidence, generation=generation, at=at
    )[1]


def champion_version(settings: Settings) -> str | None:
    """The champion's version by the release document; None if there is none."""
    with versions.reraise_mlflow_errors(settings):
        found = read_release_document(settings, mlflow_tracking.mlflow_client(settings)).champion
    return found.version if found else None


def _require_allowed(
    settings: Settings, found: RecordedRelease, served: ServedModel, again: bool, at: datetime,
    *, shadow: bool = False,
) -> None:  # fmt: skip
    version, known = served.version, found.trail.entries
    if found.document.frozen:
        told = f"Version {version} is not released: {_told_freeze(found)}"
        raise RefusedError(told, code="frozen")
    bar = approval_rules.barred_by(known, version)
    if bar is not None and not again:
        raise RefusedError(
            f"Version {version} is not released: {bar.by} took it back on {bar.at:%Y-%m-%d %H:%M} "
            f"UTC ({bar.why}). If that is mended, `mlops promote {version} --again`.",
            code="barred",
        )
    if not shadow:
        approvals.require_approval(settings, known, version, served.digest, at)


def bar_lift_details(found: RecordedRelease, version: str) -> dict[str, Any]:
    """What an entry says of a version that comes back though it was barred."""
    return {LIFTS_BAR: True} if approval_rules.barred_by(found.trail.entries, version) else {}


def _told_freeze(found: RecordedRelease) -> str:
    frozen = [entry for entry in found.trail.entries if entry.action == "freeze"]
    who = f" by {frozen[-1].by} ({frozen[-1].why})" if frozen else ""
    return f"releases are frozen{who}. `mlops unfreeze` lifts it."


def _require_free(state: ReleaseDocument, version: str) -> None:
    if state.champion is None:
        raise UserError(f"There is no champion to challenge: `mlops promote {version}`.")
    if state.champion.version == version:
        raise UserError(f"Version {version} is the champion and can't challenge itself.")
    if state.challenger is not None and state.challenger.model.version != version:
        raise UserError(
            f"Version {state.challenger.model.version} is the challenger: `mlops withdraw` first."
        )
