"""What does the record of releases say, and is it whole? Entries chained by digest; pure functions.

Each entry carries the digest of the one before, and the release document the count and the newest
digest. docs/releases.md says which attacker that stops, and which it does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from serving.release.document import GENESIS, MALFORMED_ERRORS, HistoryHead

Arms = Mapping[str, Any]  # what served: champion, challenger, frozen, generation


@dataclass(frozen=True)
class AuditEntry:
    """One change: who did what to which version, when (UTC) and why, and what serves since."""

    seq: int
    at: datetime
    by: str
    action: str
    version: str | None  # that it is about
    why: str
    before: Arms
    after: Arms
    evidence: str  # sha256 of the file that holds it
    previous: str  # digest of the entry before
    details: Mapping[str, Any] = field(default_factory=dict)  # gate, until, digest, ...

    @property
    def body(self) -> str:
        """The text that is kept and digested; the same entry gives the same text."""
        return json.dumps(asdict(self), sort_keys=True, default=datetime.isoformat)

    @property
    def digest(self) -> str:
        return sha256(self.body.encode()).hexdigest()

    @classmethod
    def parse(cls, body: str) -> AuditEntry:
        """Raises one of `MALFORMED_ERRORS` if it is no entry."""
        fields = json.loads(body)
        return cls(**{**fields, "at": datetime.fromisoformat(fields["at"])})

    def readable_tags(self) -> dict[str, str]:
        """The fields by which a person finds it, as tags beside the text."""
        serving = {
            name: describe_arms(arms) for name, arms in (("from", self.before), ("to", self.after))
        }
        return {
            "seq": str(self.seq), "at": self.at.isoformat(), "by": self.by, "action": self.action,
            "version": self.version or "", "why": self.why, **serving,
        }  # fmt: skip


@dataclass(frozen=True)
class StoredEntry:
    """An entry as it lies in the store."""

    run_id: str
    tags: Mapping[str, str]
    concluded: bool  # its change is done; else it may have been killed half-way
    deleted: bool = False
    evidence: str | None = None  # sha256 of the file as it is now; None if nobody looked


@dataclass(frozen=True)
class AuditTrail:
    """What the document vouches for: entries, the oldest first, down to the first break."""

    entries: tuple[AuditEntry, ...]
    newest: StoredEntry | None
    problems: tuple[str, ...]  # empty if the record is whole
    unfinished: tuple[StoredEntry, ...]  # attempts that no document ever named


def verify_trail(stored: Iterable[StoredEntry], history: HistoryHead) -> AuditTrail:
    """The entries that lead from the document's head back to the first one."""
    by_digest = {each.tags.get("digest", ""): each for each in stored}
    left = dict(by_digest)
    entries: list[AuditEntry] = []
    problems: list[str] = []
    head, newest = history.head, by_digest.get(history.head)
    for seq in range(history.count, 0, -1):
        found = left.pop(head, None)
        entry, wrong = _read(found, seq, head)
        if found is not None and found.deleted:
            problems.append(f"Entry {seq} was deleted; `mlflow runs restore` undeletes it.")
        if entry is None:
            problems.append(f"{wrong} What is older than it is not vouched for.")
            break
        problems += [wrong] if wrong else []
        entries.append(entry)
        head = entry.previous
    else:
        if head != GENESIS:
            problems.append("The first entry has one before it: the document's count was changed.")
    broken = len(entries) < history.count
    outside = [] if broken else [each for each in left.values() if each.concluded]
    for each in outside:
        problems.append(
            f"Entry {each.tags.get('seq')} ({each.tags.get('action')}) was concluded, and the "
            "release document does not know it: the document was set back."
        )
    unfinished = tuple(each for each in left.values() if not each.concluded)
    return AuditTrail(tuple(reversed(entries)), newest, tuple(problems), unfinished)


def _read(found: StoredEntry | None, seq: int, digest: str) -> tuple[AuditEntry | None, str]:
    """The entry, if what is stored has this digest and place; what is wrong with it, in words."""
    if found is None:
        return None, f"Entry {seq} ({digest[:12]}) is missing: it was removed or changed."
    body = found.tags.get("entry", "")
    try:
        entry = AuditEntry.parse(body)
    except MALFORMED_ERRORS as error:
        return None, f"Entry {seq} was changed: it can't be read ({error})."
    if sha256(body.encode()).hexdigest() != digest or entry.seq != seq:
        return None, f"Entry {seq} was changed: it is not what {digest[:12]} stands for."
    changed = [name for name, text in entry.readable_tags().items() if found.tags.get(name) != text]
    if changed:
        return entry, f"Entry {seq} was changed: the tags {', '.join(changed)} contradict it."
    if found.evidence not in (None, entry.evidence):
        return entry, f"Entry {seq} was changed: its evidence is not what was recorded."
    return entry, ""


def traffic_shares_at(entries: Sequence[AuditEntry], moment: datetime) -> dict[str, float]:
    """The share of traffic that each version answered at `moment`; empty before the first one.

    A shadow answers nothing: its share is 0.
    """
    before = [entry for entry in entries if entry.at <= moment]
    return traffic_shares(before[-1].after) if before else {}


def traffic_shares(arms: Arms) -> dict[str, float]:
    champion, challenger = arms["champion"], arms["challenger"]
    if champion is None:
        return {}
    percent = challenger["percent"] if challenger else 0.0
    found = {champion["version"]: 1 - percent / 100}
    return found | ({challenger["version"]: percent / 100} if challenger else {})


def describe_arms(arms: Arms) -> str:
    """What served, in a few words."""
    champion, challenger = arms["champion"], arms["challenger"]
    text = f"version {champion['version']}" if champion else "none"
    if challenger:
        text += f", {challenger['stage']} {challenger['version']}"
        text += f" at {challenger['percent']:g} %" if challenger["percent"] else ""
    return text + (", frozen" if arms["frozen"] else "")


def format_entry(entry: AuditEntry) -> list[str]:
    """What happened, and under it why."""
    about = f" version {entry.version}" if entry.version else ""
    found = [f"{entry.seq:>4}  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.action}{about}, by {entry.by}"]
    if (before := describe_arms(entry.before)) != (after := describe_arms(entry.after)):
        found.append(f"      from {before} to {after}")
    details = {name: value for name, value in entry.details.items() if name != "digest"}
    if details:
        found.append("      " + ", ".join(f"{name}: {value}" for name, value in details.items()))
    return [*found, f"      why: {entry.why}"]
