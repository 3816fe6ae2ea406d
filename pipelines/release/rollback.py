"""Rollback to an earlier champion, and the freeze that stops all releases.

Neither needs an approval: both restore an earlier state and release nothing new.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pipelines.registry.download import download_version
from pipelines.release.audit import approval_rules
from pipelines.release.audit.approval_rules import BARRED
from pipelines.release.audit.recorder import (
    RecordedRelease,
    ReleaseChange,
    record_change,
    release_lock,
)
from pipelines.release.audit.release_document import ReleaseDocument
from pipelines.release.promotion import EvidenceFields, bar_lift_details
from serving.release import document as release
from serving.release.document import Release, ServedModel
from settings import LoopError, Settings, UserError


def rollback(
    settings: Settings, to: str | None = None, *, why: str, by: str,
    evidence: EvidenceFields | None = None, generation: int | None = None,
    at: datetime | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make an earlier champion the champion: `to`, or the last one that was not rolled back.

    The current champion is barred: it can return only by `again=True`. Works without an approval
    and during a freeze. Raises `UserError` if there is no such version, `LoopError` if its files
    are missing; the champion is then unchanged.
    """
    done: dict[str, Any] = {}

    def decide(recorded: RecordedRelease) -> ReleaseChange | None:
        current = recorded.document.champion
        if current is None:
            raise UserError("There is no champion yet, so there is nothing to roll back.")
        done.update(before=current.version, version=to or _previous_champion(recorded, current))
        if done["version"] == current.version:
            return None
        digest = _recorded_digest(recorded, done["version"])
        served = download_version(settings, done["version"], digest)
        return recorded.propose_change(
            "rollback", served.version, champion=served, challenger=None,
            details={BARRED: current.version, **bar_lift_details(recorded, served.version)},
        )  # fmt: skip

    _, after = record_change(
        settings, decide, by=by, why=why, evidence=evidence, generation=generation, at=at
    )
    return {**done, "generation": after.generation}


def freeze(
    settings: Settings, *, why: str, by: str, generation: int | None = None,
    at: datetime | None = None,
) -> ReleaseDocument:  # fmt: skip
    """Remove the challenger and refuse every release until `unfreeze`."""

    def decide(recorded: RecordedRelease) -> ReleaseChange | None:
        if recorded.document.frozen:
            return None
        return recorded.propose_change("freeze", None, challenger=None, frozen=True)

    return record_change(settings, decide, by=by, why=why, generation=generation, at=at)[1]


def freeze_unrecorded(settings: Settings, *, at: datetime | None = None) -> Release:
    """Freeze the services by their release file alone, for an emergency while MLflow is down.

    The file is then ahead of the registry, so every later change is refused until `mlops repair`
    records the freeze. Raises `LoopError` if nothing is served.
    """
    with release_lock(settings):
        current = release.read_release(settings.release_file)
        if current is None:
            raise LoopError("Nothing is served, so there is nothing to freeze.")
        if current.frozen:
            return current
        frozen = replace(
            current, generation=current.generation + 1, challenger=None, frozen=True,
            changed_at=at or datetime.now(UTC),
        )  # fmt: skip
        release.write_release(settings.release_file, frozen)
        return frozen


def unfreeze(
    settings: Settings, *, why: str, by: str, generation: int | None = None,
    at: datetime | None = None,
) -> ReleaseDocument:  # fmt: skip
    """Allow releases again. The challenger of before the freeze is not restored."""

    def decide(recorded: RecordedRelease) -> ReleaseChange | None:
        if not recorded.document.frozen:
            return None
        return recorded.propose_change("unfreeze", None, frozen=False)

    return record_change(settings, decide, by=by, why=why, generation=generation, at=at)[1]


def _past_champions(recorded: RecordedRelease) -> list[tuple[str, str]]:
    """Version and digest of every champion in the audit trail, newest first."""
    arms = [each for entry in recorded.trail.entries for each in (entry.before, entry.after)]
    champions = [each["champion"] for each in reversed(arms) if each["champion"]]
    return [(each["version"], each["digest"]) for each in champions]


def _previous_champion(recorded: RecordedRelease, current: ServedModel) -> str:
    for version, _ in _past_champions(recorded):
        barred = approval_rules.barred_by(recorded.trail.entries, version)
        if version != current.version and not barred:
            return version
    problems = recorded.trail.problems
    raise UserError(
        f"The audit trail has no champion before version {current.version} to roll back to"
        f"{'; ' + problems[0] if problems else '.'}"
    )


def _recorded_digest(recorded: RecordedRelease, version: str) -> str:
    """The digest that the version had as champion. Raises `UserError` if it never was champion."""
    for champion, digest in _past_champions(recorded):
        if champion == version:
            return digest
    raise UserError(
        f"Version {version} was never champion according to the audit trail, so you can't roll "
        f"back to it. Use `mlops promote {version}` for a new champion."
    )
