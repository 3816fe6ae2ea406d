"""Rollback to an earlier champion, and the freeze that stops all releases.

Neither needs an approval: both restore an earlier state and release nothing new.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Unpack

from pipelines.registry.download import download_version
from pipelines.release.audit.approval_rules import BARRED, barred_by
from pipelines.release.audit.recorder import (
    EntryFields,
    RecordedRelease,
    open_release,
    release_lock,
)
from pipelines.release.audit.release_document import ReleaseDocument
from pipelines.release.promotion import bar_lift_details
from serving.release import document as release
from serving.release.document import Release
from settings import LoopError, Settings, UserError


def rollback(
    settings: Settings, to: str | None = None, **entry: Unpack[EntryFields]
) -> dict[str, Any]:
    """Make an earlier champion the champion: `to`, or the last one that was not rolled back.

    The current champion is barred: it can return only by `again=True`. Works without an approval
    and during a freeze. Raises `UserError` if there is no such version, `LoopError` if its files
    are missing; the champion is then unchanged.
    """
    with open_release(settings, entry) as (recorded, change):
        document, champion = recorded.document, recorded.document.champion
        if champion is None:
            raise UserError("There is no champion yet, so there is nothing to roll back.")
        current = version = champion.version
        if to != current:
            version, digest = _former_champion(recorded, current, to)
            served = download_version(settings, version, digest)
            details = {BARRED: current, **bar_lift_details(recorded, version)}
            document = change("rollback", version, details, champion=served, challenger=None)
    return {"before": current, "version": version, "generation": document.generation}


def freeze(settings: Settings, **entry: Unpack[EntryFields]) -> ReleaseDocument:
    """Remove the challenger and refuse every release until `unfreeze`."""
    return _set_frozen(settings, True, entry)


def unfreeze(settings: Settings, **entry: Unpack[EntryFields]) -> ReleaseDocument:
    """Allow releases again. The challenger of before the freeze is not restored."""
    return _set_frozen(settings, False, entry)


def _set_frozen(settings: Settings, frozen: bool, entry: EntryFields) -> ReleaseDocument:
    with open_release(settings, entry) as (recorded, change):
        if recorded.document.frozen == frozen:
            return recorded.document
        action = "freeze" if frozen else "unfreeze"
        return change(action, None, challenger=None, frozen=frozen)


def freeze_unrecorded(settings: Settings) -> Release:
    """Freeze the services by their release file alone, for an emergency while MLflow is down.

    The file is then ahead of the registry, so every later change is refused until `mlops repair`
    records the freeze. Raises `LoopError` if nothing is served.
    """
    with release_lock(settings):
        current = release.read_release(settings)
        if current is None:
            raise LoopError("Nothing is served, so there is nothing to freeze.")
        if current.frozen:
            return current
        frozen = replace(
            current, generation=current.generation + 1, challenger=None, frozen=True,
            changed_at=datetime.now(UTC),
        )  # fmt: skip
        release.write_release(settings, frozen)
        return frozen


def _former_champion(recorded: RecordedRelease, current: str, to: str | None) -> tuple[str, str]:
    """Return version and digest of the newest champion in the audit trail that fits.

    That is `to`, or the last one that is neither `current` nor barred. Raises `UserError` if there
    is none.
    """
    entries = recorded.trail.entries
    arms = [each for entry in entries for each in (entry.before, entry.after)]
    champions = [arm["champion"] for arm in reversed(arms) if arm["champion"]]
    if to:
        fitting = [each for each in champions if each["version"] == to]
    else:
        others = [each for each in champions if each["version"] != current]
        fitting = [each for each in others if not barred_by(entries, each["version"])]
    if fitting:
        return fitting[0]["version"], fitting[0]["digest"]
    if to:
        raise UserError(
            f"Version {to} was never champion according to the audit trail, so you can't roll "
            f"back to it. Use `mlops promote {to}` for a new champion."
        )
    problem = f"; {recorded.trail.problems[0]}" if recorded.trail.problems else "."
    raise UserError(
        f"The audit trail has no champion before version {current} to roll back to{problem}"
    )
