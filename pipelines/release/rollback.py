"""Back to what was good: an older champion, or the champion alone and nothing new.

Neither needs an approval: both make less of what is new, never more.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pipelines.registry.download import download_version
from pipelines.release.audit import approval_rules
from pipelines.release.audit.approval_rules import BARRED
from pipelines.release.audit.recorder import RecordedRelease, record_change
from pipelines.release.audit.release_document import ReleaseChange, ReleaseDocument
from pipelines.release.audit.release_lock import release_lock
from pipelines.release.promotion import EvidenceFields, bar_lift_details
from serving.release import document
from serving.release.document import Release, ServedModel
from settings import LoopError, Settings, UserError


def rollback(
    settings: Settings,
    to: str | None = None,
    *,
    why: str,
    by: str,
    evidence: EvidenceFields | None = None,
    generation: int | None = None,
    at: datetime | None = None,
) -> dict[str, Any]:
    """Makes a champion of before the champion: `to`, or the last one that was not rolled back.

    What was champion may not come back by itself. Needs no approval and works in a freeze: it makes
    less of what is new, never more. Raises `UserError` if there is no such version, `LoopError` if
    its files are gone: what is served then stays as it is.
    """
    done: dict[str, Any] = {}

    def step(found: RecordedRelease) -> ReleaseChange | None:
        current = found.document.champion
        if current is None:
            raise UserError("There is no champion yet, so nothing to roll back to.")
        done.update(before=current.version, version=to or _previous(found, current))
        if done["version"] == current.version:
            return None
        served = download_version(settings, done["version"], _recorded(found, done["version"]))
        return found.propose_change(
            "rollback", served.version, champion=served, challenger=None,
            details={BARRED: current.version, **bar_lift_details(found, served.version)},
        )  # fmt: skip

    _, after = record_change(
        settings, step, by=by, why=why, evidence=evidence, generation=generation, at=at
    )
    return {**done, "generation": after.generation}


def freeze(
    settings: Settings, *, why: str, by: str, generation: int | None = None,
    at: datetime | None = None,
) -> ReleaseDocument:  # fmt: skip
    """The champion alone, and no release until `unfreeze`."""

    def step(found: RecordedRelease) -> ReleaseChange | None:
        if found.document.frozen:
            return None
        return found.propose_change("freeze", None, challenger=None, frozen=True)

    return record_change(settings, step, by=by, why=why, generation=generation, at=at)[1]


def freeze_unrecorded(settings: Settings, *, at: datetime | None = None) -> Release:
    """The same for the services alone, by their file, for when MLflow is away: what must not wait.

    The file is then ahead of the registry, which nothing passes over in silence: `mlops repair`
    puts it on the record. Raises `LoopError` if nothing is served.
    """
    with release_lock(settings):
        now = document.read_release(settings.release_file)
        if now is None:
            raise LoopError("Nothing is served, so there is nothing to freeze.")
        if now.frozen:
            return now
        frozen = replace(
            now, generation=now.generation + 1, challenger=None, frozen=True,
            changed_at=at or datetime.now(UTC),
        )  # fmt: skip
        document.write_release(settings.release_file, frozen)
        return frozen


def unfreeze(
    settings: Settings, *, why: str, by: str, generation: int | None = None,
    at: datetime | None = None,
) -> ReleaseDocument:  # fmt: skip
    """Lifts the freeze; who was a challenger before is none until somebody says so."""

    def step(found: RecordedRelease) -> ReleaseChange | None:
        return (
            found.propose_change("unfreeze", None, frozen=False) if found.document.frozen else None
        )

    return record_change(settings, step, by=by, why=why, generation=generation, at=at)[1]


def _champions(found: RecordedRelease) -> list[tuple[str, str]]:
    """Version and digest of those that were champion by the record, the newest first."""
    arms = [each for entry in found.trail.entries for each in (entry.before, entry.after)]
    champions = [each["champion"] for each in reversed(arms) if each["champion"]]
    return [(each["version"], each["digest"]) for each in champions]


def _previous(found: RecordedRelease, current: ServedModel) -> str:
    for version, _ in _champions(found):
        if version != current.version and not approval_rules.barred_by(
            found.trail.entries, version
        ):
            return version
    raise UserError(
        f"The record knows no champion before version {current.version} to go back to"
        f"{'; ' + found.trail.problems[0] if found.trail.problems else '.'}"
    )


def _recorded(found: RecordedRelease, version: str) -> str:
    """The digest with which the version was champion last. Raises `UserError` if it never was."""
    for champion, digest in _champions(found):
        if champion == version:
            return digest
    raise UserError(
        f"Version {version} was never champion by the record, so there is no rollback to it. "
        f"`mlops promote {version}` is the way for a new one."
    )
