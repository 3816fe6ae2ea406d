"""Which approvals, overrides and bars hold, by the entries of the record; pure functions.

An approval is bound to the digest of the version's files, and expires. The record's chain decides;
the tags on the version are there to be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pipelines.release.audit.trail import AuditEntry
from settings import LoopError

# Why a release may not be.
REFUSALS = ("not_approved", "frozen", "barred", "experiment_under_way")


BARRED = "barred"


LIFTS_BAR = "again"


class RefusedError(LoopError):
    """A release that may not be; its `code` is one of `REFUSALS`."""


def find_approval(
    entries: Sequence[AuditEntry], version: str, digest: str, at: datetime
) -> tuple[AuditEntry | None, str]:
    """The approval that holds for these files at `at`, or None and why there is none."""
    about = [e for e in entries if e.version == version and e.action in {"approve", "reject"}]
    if not about:
        return None, f"version {version} was not approved by anybody"
    newest = about[-1]
    if newest.action == "reject":
        return None, f"version {version} was rejected by {newest.by}: {newest.why}"
    if newest.details["digest"] != digest:
        return None, (
            f"{newest.by} approved version {version} with the digest "
            f"{newest.details['digest'][:12]}, and its files have {digest[:12]}"
        )
    if at >= datetime.fromisoformat(newest.details["until"]):
        return None, f"the approval by {newest.by} ended on {newest.details['until'][:16]} UTC"
    return newest, ""


def active_overrides(
    entries: Sequence[AuditEntry], version: str, digest: str, at: datetime
) -> dict[str, AuditEntry]:
    """The `GUARDS` set aside for these files at `at`, each with the newest word on it."""
    found = [
        e for e in entries
        if e.action == "override" and e.version == version and e.details["digest"] == digest
    ]  # fmt: skip
    return {
        entry.details["gate"]: entry
        for entry in found
        if at < datetime.fromisoformat(entry.details["until"])
    }


def barred_by(entries: Sequence[AuditEntry], version: str) -> AuditEntry | None:
    """The rollback or withdrawal by which the version may not come back by itself."""
    for entry in reversed(entries):
        if entry.details.get(BARRED) == version:
            return entry
        if entry.version == version and entry.action in {"promote", "challenge", "rollback"}:
            return None
    return None


def version_tags(entry: AuditEntry) -> dict[str, dict[str, str]]:
    """What to show on which version after this entry, by version and name of the tag."""
    said = f"by {entry.by} on {entry.at:%Y-%m-%d %H:%M} UTC: {entry.why}"
    found: dict[str, dict[str, str]] = {}
    if entry.details.get(BARRED):
        found[entry.details[BARRED]] = {BARRED: said}
    if entry.version is None:
        return found
    of_version = {
        "approve": {"approval": f"approved until {entry.details.get('until', '')[:16]} {said}"},
        "reject": {"approval": f"rejected {said}"},
        "override": {
            f"override {entry.details.get('gate')}":
            f"until {entry.details.get('until', '')[:16]} {said}",
        },
    }.get(entry.action, {})  # fmt: skip
    if entry.details.get(LIFTS_BAR):
        of_version = {**of_version, BARRED: f"no more: {entry.action} {said}"}
    return {entry.version: of_version} | found if of_version else found
