"""The audit trail: entries chained by digest, and the verification of the chain. Pure functions.

Each entry is signed and holds the digest of the previous one. The release document is signed, too,
and holds the number of entries and the newest digest. docs/releases.md says which attacks this
detects, and which it does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter, ValidationError

from serving.release.document import GENESIS, HistoryHead, first_fault
from serving.release.signatures import CHANGED, UNSIGNED

Arms = Mapping[str, Any]  # champion, challenger, frozen, generation: what was served


@dataclass(frozen=True)
class AuditEntry:
    """One change: who did what to which version, when (UTC) and why, and what is served since."""

    seq: int
    at: datetime
    by: str
    action: str
    version: str | None  # the version that was changed, if any
    why: str
    before: Arms
    after: Arms
    evidence: str  # sha256 of the evidence file
    previous: str  # digest of the previous entry
    details: Mapping[str, Any] = field(default_factory=dict)  # gate, until, digest, ...

    @property
    def body(self) -> str:
        """The canonical JSON that is stored and digested."""
        return json.dumps(asdict(self), sort_keys=True, default=datetime.isoformat)

    @property
    def digest(self) -> str:
        return sha256(self.body.encode()).hexdigest()

    @classmethod
    def parse(cls, body: str) -> AuditEntry:
        """Parse an entry's `body`. Raises `ValidationError` if it is not an entry."""
        return ENTRY_ADAPTER.validate_json(body)

    def readable_tags(self) -> dict[str, str]:
        """Return the tags by which a person finds the entry; verification compares them, too."""
        return {
            "seq": str(self.seq), "at": self.at.isoformat(), "by": self.by, "action": self.action,
            "version": self.version or "", "why": self.why,
            "from": describe_arms(self.before), "to": describe_arms(self.after),
        }  # fmt: skip


ENTRY_ADAPTER = TypeAdapter(AuditEntry)  # built once: it takes longer than to parse many entries


@dataclass(frozen=True)
class StoredEntry:
    """An audit entry as `entry_store` keeps it: the tags of an MLflow run."""

    run_id: str
    tags: Mapping[str, str]
    concluded: bool  # False: the change may have been killed before it was complete
    running: bool = False
    deleted: bool = False
    evidence: str | None = None  # sha256 of the current file; None if it was not read
    signature_fault: str | None = None  # why the signature does not count; None if it does


@dataclass(frozen=True)
class AuditTrail:
    """The verified entries, oldest first, back to the first break of the chain."""

    entries: tuple[AuditEntry, ...]
    newest: StoredEntry | None
    problems: tuple[str, ...]  # empty if the audit trail is complete and unchanged
    unfinished: tuple[StoredEntry, ...]  # killed changes that never reached the document


def verify_trail(stored: Iterable[StoredEntry], history: HistoryHead) -> AuditTrail:
    """Follow the chain of digests from the document's newest entry back to the first one."""
    unlinked = {each.tags.get("digest", ""): each for each in stored}
    newest, head = unlinked.get(history.head), history.head
    entries: list[AuditEntry] = []
    problems: list[str] = []
    # A trusted signature covers all older entries, by their digests: those from before signatures,
    # and those of a key that is trusted no more. An unsigned entry after a signed one is a fault.
    unsigned, is_covered = list[int](), False
    for seq in range(history.count, 0, -1):
        linked = unlinked.pop(head, None)
        if linked is not None and linked.deleted:
            problems.append(f"Entry {seq} was deleted. Restore it with `mlflow runs restore`.")
        entry, problem = _verify_entry(linked, seq, head)
        if entry is None:
            problems.append(f"{problem} Older entries can't be verified.")
            break
        problems += [problem] if problem else []
        fault = linked.signature_fault if linked is not None else None
        if fault is None:
            problems += [f"Entry {each} is not signed, but entry {seq} is." for each in unsigned]
            unsigned, is_covered = [], True
        elif fault == UNSIGNED:
            unsigned.append(seq)
        elif not is_covered:
            problems.append(f"Entry {seq} is not trusted: {fault}.")
        entries.append(entry)
        head = entry.previous
    else:
        if head != GENESIS:
            problems.append("The first entry has a previous one: the document's count was changed.")
        # Behind a break, concluded entries are unlinked because of the break.
        problems += [
            f"Entry {each.tags.get('seq')} ({each.tags.get('action')}) was concluded, but the "
            "release document does not contain it: the document was set back."
            for each in unlinked.values()
            if each.concluded
        ]
    unfinished = tuple(each for each in unlinked.values() if not each.concluded)
    return AuditTrail(tuple(reversed(entries)), newest, tuple(problems), unfinished)


def _verify_entry(
    stored: StoredEntry | None, seq: int, digest: str
) -> tuple[AuditEntry | None, str]:
    """The entry, None if it has another digest or number; and what is wrong, empty if nothing."""
    if stored is None:
        return None, f"Entry {seq} ({digest[:12]}) is missing: it was removed or changed."
    body = stored.tags.get("entry", "")
    try:
        entry = AuditEntry.parse(body)
    except ValidationError as error:
        return None, f"Entry {seq} was changed: it can't be read ({first_fault(error)})."
    if sha256(body.encode()).hexdigest() != digest or entry.seq != seq:
        return None, f"Entry {seq} was changed: it does not match its digest {digest[:12]}."
    if stored.signature_fault == CHANGED:
        return None, f"Entry {seq} is not trusted: {CHANGED}."
    tags = entry.readable_tags()
    if changed := [name for name, text in tags.items() if stored.tags.get(name) != text]:
        return entry, f"Entry {seq} was changed: the tags {', '.join(changed)} contradict it."
    if stored.evidence not in (None, entry.evidence):
        return entry, f"Entry {seq} was changed: its evidence differs from the recorded one."
    return entry, ""


def arm_versions(*served: Arms) -> list[str]:
    """Return the versions of these champions and challengers, sorted, each once."""
    arms = [each[arm] for each in served for arm in ("champion", "challenger") if each[arm]]
    return sorted({arm["version"] for arm in arms})


def traffic_shares_at(entries: Sequence[AuditEntry], moment: datetime) -> dict[str, float]:
    """Return the share of requests (0 to 1) that each version answered at `moment`.

    A shadow has the share 0. Empty before the first release.
    """
    served = next((e.after for e in reversed(entries) if e.at <= moment), None)
    if served is None or served["champion"] is None:
        return {}
    challenger = served["challenger"]
    share = challenger["percent"] / 100 if challenger else 0.0
    shares = {served["champion"]["version"]: 1 - share}
    return shares | ({challenger["version"]: share} if challenger else {})


def describe_arms(arms: Arms) -> str:
    """Return the served versions in a few words. Stored as tags: the format must not change."""
    champion, challenger = arms["champion"], arms["challenger"]
    text = f"version {champion['version']}" if champion else "none"
    if challenger:
        text += f", {challenger['stage']} {challenger['version']}"
        text += f" at {challenger['percent']:g} %" if challenger["percent"] else ""
    return text + (", frozen" if arms["frozen"] else "")


def format_entry(entry: AuditEntry) -> list[str]:
    """Return the lines that describe the entry to a person."""
    about = f" version {entry.version}" if entry.version else ""
    lines = [f"{entry.seq:>4}  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.action}{about}, by {entry.by}"]
    if (before := describe_arms(entry.before)) != (after := describe_arms(entry.after)):
        lines.append(f"      from {before} to {after}")
    details = [f"{name}: {value}" for name, value in entry.details.items() if name != "digest"]
    lines += [f"      {', '.join(details)}"] if details else []
    return [*lines, f"      why: {entry.why}"]
