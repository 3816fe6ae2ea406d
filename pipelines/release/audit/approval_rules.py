"""Approvals, overrides and bars that are active according to the audit trail. Pure functions.

An approval applies to one digest of the version's files and expires. Only the audit trail counts;
the tags on the version are for people to read.
"""

from collections.abc import Sequence
from datetime import datetime

from pipelines.release.audit.trail import AuditEntry
from settings import LoopError

REFUSALS = ("not_approved", "frozen", "barred", "experiment_under_way")
# Keys of an entry's details. A barred version can return only by `--again`, which lifts the bar.
BARRED = "barred"
LIFTS_BAR = "again"


class RefusedError(LoopError):
    """A release was refused; its `code` is one of `REFUSALS`."""


def find_approval(
    entries: Sequence[AuditEntry], version: str, digest: str, at: datetime
) -> tuple[AuditEntry | None, str]:
    """Return the approval of these files that is active at `at`; or None and the reason."""
    decisions = [e for e in entries if e.version == version and e.action in {"approve", "reject"}]
    if not decisions:
        return None, f"version {version} was not approved"
    newest = decisions[-1]
    if newest.action == "reject":
        return None, f"version {version} was rejected by {newest.by}: {newest.why}"
    if newest.details["digest"] != digest:
        return None, (
            f"{newest.by} approved version {version} with the digest "
            f"{newest.details['digest'][:12]}, but its files now have {digest[:12]}"
        )
    if at >= datetime.fromisoformat(newest.details["until"]):
        return None, f"the approval by {newest.by} expired on {newest.details['until'][:16]} UTC"
    return newest, ""


def active_overrides(
    entries: Sequence[AuditEntry], version: str, digest: str, at: datetime
) -> dict[str, AuditEntry]:
    """Return the guards overridden for these files at `at`, each with its newest entry."""
    return {
        entry.details["gate"]: entry
        for entry in entries
        if entry.action == "override" and entry.version == version
        and entry.details["digest"] == digest
        and at < datetime.fromisoformat(entry.details["until"])
    }  # fmt: skip


def barred_by(entries: Sequence[AuditEntry], version: str) -> AuditEntry | None:
    """Return the rollback or withdrawal that bars the version; None if it is not barred."""
    for entry in reversed(entries):
        if entry.details.get(BARRED) == version:
            return entry
        if entry.version == version and entry.action in {"promote", "challenge", "rollback"}:
            return None
    return None


def version_tags(entry: AuditEntry) -> dict[str, dict[str, str]]:
    """Return the registry tags that describe this entry, by version and name of the tag."""
    author = f"by {entry.by} on {entry.at:%Y-%m-%d %H:%M} UTC: {entry.why}"
    until = entry.details.get("until", "")[:16]
    tags = {
        "approve": {"approval": f"approved until {until} {author}"},
        "reject": {"approval": f"rejected {author}"},
        "override": {f"override {entry.details.get('gate')}": f"until {until} {author}"},
    }.get(entry.action, {})
    if entry.details.get(LIFTS_BAR):
        tags = {**tags, BARRED: f"no more: {entry.action} {author}"}
    by_version = {}
    if entry.version and tags:
        by_version[entry.version] = tags
    if barred := entry.details.get(BARRED):
        by_version[barred] = {BARRED: author}
    return by_version
