"""Record and apply a change of the release: audit entry, release document, release file, aliases.

A change writes in this order: the entry (a run of the experiment `releases`); the document (the tag
`release` of the registered model), which holds the entry's digest; the services' release file;
aliases and tags. The next call first completes a change that was killed.
MLflow has no compare-and-set: docs/decisions/10-one-lock-for-the-release.md says what the lock
protects against.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any, Required, TypedDict

from features import locks
from pipelines.registry import versions
from pipelines.release.audit import entry_store
from pipelines.release.audit.release_document import (
    ReleaseDocument,
    next_document,
    read_release_document,
    read_served_release,
    recorded_arms,
    sync_file_and_aliases,
    write_release_document,
)
from pipelines.release.audit.trail import AuditEntry, AuditTrail, arm_versions, verify_trail
from serving.release.document import HistoryHead
from settings import LoopError, Settings, UserError

LOCK_TIMEOUT_S = 60.0  # seconds; a change takes about one, and more if it downloads files


class SupersededError(LoopError):
    """The release changed after the caller's decision, so the change was not made."""

    code = "superseded"


class EntryFields(TypedDict, total=False):
    """The fields of an audit entry that the author of a change provides."""

    by: Required[str]
    why: Required[str]
    evidence: Mapping[str, Any] | None
    generation: int | None  # the one decided on, against concurrent changes; people omit it
    at: datetime | None  # now if it is None


@dataclass(frozen=True)
class RecordedRelease:
    """The release document and its audit trail, as read together."""

    document: ReleaseDocument
    trail: AuditTrail

    @property
    def is_consistent(self) -> bool:
        """Whether the newest entry agrees with the document; True if there is no entry yet."""
        if not self.document.history.count:
            return True
        entries = self.trail.entries
        return bool(entries) and dict(entries[-1].after) == recorded_arms(self.document)


def release_lock(
    settings: Settings, patience: float = LOCK_TIMEOUT_S
) -> AbstractContextManager[None]:
    """Hold `release/lock`: one change at a time among all processes that share `var/`.

    Raises `LoopError` if another process holds it for `patience` seconds.
    """
    return locks.hold_lock(
        settings.release_file.with_name("lock"), patience, what="Another release"
    )


def read_recorded_release(settings: Settings, *, evidence: bool = False) -> RecordedRelease:
    """Return document and trail; with `evidence`, the evidence files are verified, too.

    Raises `LoopError` for a malformed document or without MLflow.
    """
    with versions.reraise_mlflow_errors(settings) as client:
        document = read_release_document(settings, client)
        stored = entry_store.read_entries(settings, client, evidence=evidence)
    return RecordedRelease(document, verify_trail(stored, document.history))


@contextmanager
def open_release(
    settings: Settings, entry: EntryFields
) -> Iterator[tuple[RecordedRelease, Callable[..., ReleaseDocument]]]:
    """Hold the lock; yield the recorded release and a function that makes one change of it.

    The function is `apply_change` from its `action` on. If it is not called, nothing changes. Call
    it within the block, and once. Raises `SupersededError` if the current generation is not the
    entry's `generation`; `UserError` without a name and reason; `LoopError` if the lock is held,
    MLflow is unavailable or the document is malformed. After an error serving is unaffected, or the
    next call completes the change.
    """
    require_name_and_reason(entry["by"], entry["why"])
    with release_lock(settings), versions.reraise_mlflow_errors(settings) as client:
        entry_store.restore_experiment(settings)
        recorded = read_recorded_release(settings)
        document = recorded.document
        _complete_killed_change(settings, client, recorded)
        generation = entry.get("generation")
        if generation is not None and generation != document.generation:
            raise SupersededError(
                f"Nothing was changed: the decision was based on generation {generation} of the "
                f"release, but the current one is {document.generation}. Decide again."
            )
        yield recorded, partial(apply_change, settings, client, document, entry)


def require_name_and_reason(by: str, why: str) -> None:
    """Raise `UserError` for an empty or too long name or reason of a change."""
    if not (by.strip() and why.strip()) or len(by) > 100 or len(why) > 1000:
        raise UserError(
            "A change needs a name (--by, up to 100 characters) and a reason (--reason, up to "
            "1,000 characters)."
        )


def apply_change(
    settings: Settings, client: Any, document: ReleaseDocument, fields: EntryFields,
    action: str, version: str | None, details: Mapping[str, Any] | None = None, **changed: Any,
) -> ReleaseDocument:  # fmt: skip
    """Write entry, document, file, aliases and tags, in this order; return the new document.

    `changed` may hold champion, challenger and frozen. The caller holds the lock. Raises
    `SupersededError` if another writer without the lock overwrote the document.
    """
    after = next_document(document, **changed)
    before, arms = recorded_arms(document), recorded_arms(after)
    # Deleted in the registry, but served from files.
    gone = versions.missing_versions(settings, *arm_versions(before, arms))
    text = json.dumps(dict(fields.get("evidence") or {}), sort_keys=True, indent=1, default=str)
    entry = AuditEntry(
        seq=document.history.count + 1,
        at=(fields.get("at") or datetime.now(UTC)).astimezone(UTC), by=fields["by"],
        action=action, version=version, why=fields["why"], before=before, after=arms,
        evidence=sha256(text.encode()).hexdigest(), previous=document.history.head,
        details={**(details or {}), **({"gone": gone} if gone else {})},
    )  # fmt: skip
    after = replace(after, changed_at=entry.at, history=HistoryHead(entry.seq, entry.digest))
    run_id = entry_store.append_entry(settings, client, entry, text)
    write_release_document(settings, client, after)
    # The lock covers one machine: another machine, or a person in MLflow's UI, may write as well.
    if (written := read_release_document(settings, client)) != after:
        raise SupersededError(
            f"Generation {written.generation} of the release was written without the lock, over "
            "this change. The services did not change. Run `mlops history --verify`."
        )
    sync_file_and_aliases(settings, client, after)
    entry_store.conclude_entry(settings, client, entry, run_id)
    return after


def _complete_killed_change(settings: Settings, client: Any, recorded: RecordedRelease) -> None:
    """Complete a change that was killed. Raise `LoopError` if the release file is ahead."""
    document, trail = recorded.document, recorded.trail
    served = read_served_release(settings)
    if served is not None and served.generation > document.generation:
        raise LoopError(
            f"{settings.release_file} has generation {served.generation}, but the registry only "
            f"{document.generation}: the registry was set back, or a freeze was made without "
            "MLflow. Serving is unaffected. Run `mlops repair` to update the registry.",
            code="document_behind",
        )
    if served != document and not recorded.is_consistent:
        raise LoopError(
            "The release document and its newest audit entry contradict each other: one of them "
            "was changed by hand. Serving is unaffected. Run `mlops history --verify` to see the "
            "change, and `mlops repair` to restore the document from the release file.",
            code="document_contradicted",
        )
    if document.generation:
        sync_file_and_aliases(settings, client, document)
    if trail.newest is not None and not trail.newest.concluded and trail.entries:
        entry_store.conclude_entry(settings, client, trail.entries[-1], trail.newest.run_id)
    for each in trail.unfinished:
        if each.running and not each.deleted:  # the run is kept, and shown as unfinished
            client.set_terminated(each.run_id, status="KILLED")
