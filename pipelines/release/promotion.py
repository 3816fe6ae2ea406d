"""Promote, challenge and withdraw versions; each move is one audit entry.

Every function may be called again after a kill.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Unpack

from pydantic import ValidationError

from pipelines.release import approvals
from pipelines.release.audit import approval_rules
from pipelines.release.audit.approval_rules import BARRED, LIFTS_BAR, RefusedError
from pipelines.release.audit.recorder import EntryFields, RecordedRelease, open_release
from pipelines.release.audit.release_document import ReleaseDocument
from pipelines.release.audit.vouched_files import download_vouched
from pipelines.release.staging_checks import check_in_staging
from serving.release.document import Challenger, ServedModel, Stage, first_fault
from settings import Settings, UserError


def promote(
    settings: Settings, version: str, *, again: bool = False, **entry: Unpack[EntryFields]
) -> dict[str, Any]:
    """Make `version` the champion and withdraw the challenger, if there is one.

    If there is a staging service, check the version there first. Pass `again=True` for a version
    that was rolled back or withdrawn before. Raises `RefusedError` during a freeze, without a
    required approval, or for such a version without `again`; `LoopError` if the files differ from
    the registered ones.
    """
    entry["at"] = at = entry.get("at") or datetime.now(UTC)
    check_in_staging(settings, version)
    served = download_vouched(settings, version)
    with open_release(settings, entry) as (recorded, change):
        document, before = recorded.document, recorded.document.champion
        if before is None or replace(before, path=served.path) != served:
            _require_allowed(settings, recorded, served, again, at)
            details = bar_lift_details(recorded, version)
            document = change("promote", version, details, champion=served, challenger=None)
    return {
        "version": version, "before": before and before.version,
        "digest": served.digest, "generation": document.generation,
    }  # fmt: skip


def challenge(
    settings: Settings, version: str, stage: Stage, percent: float = 0.0, *,
    name: str | None = None, again: bool = False, **entry: Unpack[EntryFields],
) -> ReleaseDocument:  # fmt: skip
    """Make `version` the challenger in this stage, with `percent` of the keys (0 for a shadow).

    Raises the errors of `promote`; a shadow needs no approval, because it answers no request.
    Raises `UserError` without a champion, for an impossible stage, or if another version is the
    challenger.
    """
    entry["at"] = at = entry.get("at") or datetime.now(UTC)
    served = download_vouched(settings, version)
    try:
        wanted = Challenger(served, stage, percent, at, name)
    except ValidationError as error:
        fault = first_fault(error)
        raise UserError(f"Version {version} can't be this challenger: {fault}.") from error
    with open_release(settings, entry) as (recorded, change):
        document, current = recorded.document, recorded.document.challenger
        if current is not None and replace(current, since=wanted.since) == wanted:
            return document
        _require_no_other_challenger(document, version)
        _require_allowed(settings, recorded, served, again, at, shadow=stage == "shadow")
        return change("challenge", version, bar_lift_details(recorded, version), challenger=wanted)


def withdraw(
    settings: Settings, *, bar: bool = True, **entry: Unpack[EntryFields]
) -> ReleaseDocument:
    """Remove the challenger. With `bar` it can return only by `again=True`."""
    with open_release(settings, entry) as (recorded, change):
        document, challenger = recorded.document, recorded.document.challenger
        if challenger is None:
            return document
        version = challenger.model.version
        details = {BARRED: version} if bar else {}
        return change("withdraw", version, details, challenger=None)


def _require_allowed(
    settings: Settings, recorded: RecordedRelease, served: ServedModel, again: bool, at: datetime,
    *, shadow: bool = False,
) -> None:  # fmt: skip
    version, entries = served.version, recorded.trail.entries
    if recorded.document.frozen:
        freezes = [each for each in entries if each.action == "freeze"]
        author = f" by {freezes[-1].by} ({freezes[-1].why})" if freezes else ""
        raise RefusedError(
            f"Version {version} is not released: releases are frozen{author}. Run `mlops unfreeze` "
            "to lift it.", code="frozen",
        )  # fmt: skip
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


def _require_no_other_challenger(document: ReleaseDocument, version: str) -> None:
    champion, challenger = document.champion, document.challenger
    if champion is None:
        raise UserError(
            f"There is no champion to challenge. Run `mlops promote {version}` instead."
        )
    if champion.version == version:
        raise UserError(f"Version {version} is the champion and can't challenge itself.")
    if challenger is not None and challenger.model.version != version:
        raise UserError(
            f"Version {challenger.model.version} is the challenger. Run `mlops withdraw` first."
        )
