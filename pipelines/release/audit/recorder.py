"""Record and apply a change of the release: audit entry, release document, release file, aliases.

A change writes in this order: the entry (a run of the experiment `releases`); the document (the tag
`release` of the registered model), which holds the entry's digest; the services' release file;
aliases and tags. The next call first completes a change that was killed.
MLflow has no compare-and-set: docs/decisions/10-one-lock-for-the-release.md says what the lock
protects against.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pipelines.registry import versions
from pipelines.release.audit import entry_store, publish
from pipelines.release.audit.release_document import (
    ReleaseChange,
    ReleaseDocument,
    next_document,
    read_release_document,
    recorded_arms,
    write_release_document,
)
from pipelines.release.audit.release_lock import release_lock
from pipelines.release.audit.trail import AuditEntry, AuditTrail, verify_trail
from pipelines.training import mlflow_tracking
from settings import LoopError, Settings, UserError


class SupersededError(LoopError):
    """The release changed after the caller's decision, so the change was not made."""

    code = "superseded"


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

    def propose_change(self, action: str, version: str | None, **changed: Any) -> ReleaseChange:
        """Return a change; `changed` may hold champion, challenger, frozen and details."""
        document = self.document
        unchanged: dict[str, Any] = {
            "champion": document.champion, "challenger": document.challenger,
            "frozen": document.frozen, "details": {},
        }  # fmt: skip
        return ReleaseChange(action, version, **(unchanged | changed))


def read_recorded_release(settings: Settings) -> RecordedRelease:
    """Return document and trail. Raises `LoopError` for a malformed document or without MLflow."""
    with versions.reraise_mlflow_errors(settings):
        return _read(settings, mlflow_tracking.mlflow_client(settings))


def _read(settings: Settings, client: Any) -> RecordedRelease:
    document = read_release_document(settings, client)
    stored = entry_store.read_entries(settings, client)
    return RecordedRelease(document, verify_trail(stored, document.history))


def record_change(
    settings: Settings, decide: Callable[[RecordedRelease], ReleaseChange | None], *,
    by: str, why: str, evidence: Mapping[str, Any] | None = None,
    generation: int | None = None, at: datetime | None = None,
) -> tuple[ReleaseDocument, ReleaseDocument]:  # fmt: skip
    """Record and apply the change that `decide` returns; return the documents before and after.

    If `decide` returns None, nothing changes. `generation` is that of the document on which the
    caller decided: raises `SupersededError` if the current one differs. Raises `UserError` without
    a name and reason; `LoopError` if the lock is held, MLflow is unavailable or the document is
    malformed. After an error serving is unaffected, or the next call completes the change.
    """
    require_name_and_reason(by, why)
    with release_lock(settings), versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        recorded = _read(settings, client)
        document = recorded.document
        _complete_killed_change(settings, client, recorded)
        if generation is not None and generation != document.generation:
            raise SupersededError(
                f"Nothing was changed: the decision was based on generation {generation} of the "
                f"release, but the current one is {document.generation}. Decide again."
            )
        change = decide(recorded)
        if change is None:
            return document, document
        moment = at or datetime.now(UTC)
        after = apply_change(
            settings, client, document, change, by=by, why=why, evidence=evidence or {}, at=moment
        )
        return document, after


def require_name_and_reason(by: str, why: str) -> None:
    """Raise `UserError` for an empty or too long name or reason of a change."""
    if not (by.strip() and why.strip()) or len(by) > 100 or len(why) > 1000:
        raise UserError(
            "A change needs a name (--by, up to 100 characters) and a reason (--reason, up to "
            "1,000 characters)."
        )


def apply_change(
    settings: Settings, client: Any, document: ReleaseDocument, change: ReleaseChange, *,
    by: str, why: str, evidence: Mapping[str, Any], at: datetime,
) -> ReleaseDocument:  # fmt: skip
    """Write entry, document, file, aliases and tags, in this order. The caller holds the lock.

    Raises `SupersededError` if another writer without the lock overwrote the document.
    """
    details = dict(change.details)
    if missing := missing_arm_versions(client, document, change):
        details["gone"] = missing
    text = json.dumps(dict(evidence), sort_keys=True, indent=1, default=str)
    entry = AuditEntry(
        seq=document.history.count + 1, at=at.astimezone(UTC), by=by, action=change.action,
        version=change.version, why=why, before=recorded_arms(document),
        after=recorded_arms(change, document.generation + 1),
        evidence=sha256(text.encode()).hexdigest(), previous=document.history.head,
        details=details,
    )  # fmt: skip
    after = next_document(document, change, entry)
    run_id = entry_store.append_entry(settings, client, entry, text)
    write_release_document(client, after)
    # The lock covers one machine: another machine, or a person in MLflow's UI, may write as well.
    if (written := read_release_document(settings, client)) != after:
        raise SupersededError(
            f"Generation {written.generation} of the release was written without the lock, over "
            "this change. The services did not change. Run `mlops history --verify`."
        )
    publish.sync_file_and_aliases(settings, client, after)
    publish.conclude_entry(client, entry, run_id)
    return after


def missing_arm_versions(client: Any, *sources: ReleaseDocument | ReleaseChange) -> list[str]:
    """Return the versions of these arms that were deleted in the registry (served from files)."""
    served = {each.champion.version for each in sources if each.champion}
    served |= {each.challenger.model.version for each in sources if each.challenger}
    return sorted(each for each in served if versions.find_version(client, each) is None)


def _complete_killed_change(settings: Settings, client: Any, recorded: RecordedRelease) -> None:
    """Complete a change that was killed. Raise `LoopError` if the release file is ahead."""
    document, trail = recorded.document, recorded.trail
    served = publish.read_served_release(settings)
    if served is not None and served.generation > document.generation:
        raise LoopError(
            f"{settings.release_file} has generation {served.generation}, but the registry only "
            f"{document.generation}: the registry was set back, or a freeze was made without "
            "MLflow. Serving is unaffected. Run `mlops repair` to update the registry."
        )
    if served != document and not recorded.is_consistent:
        raise LoopError(
            "The release document and its newest audit entry contradict each other: one of them "
            "was changed by hand. Serving is unaffected. Run `mlops history --verify` to see the "
            "change, and `mlops repair` to restore the document from the release file."
        )
    if document.generation:
        publish.sync_file_and_aliases(settings, client, document)
    if trail.newest is not None and not trail.newest.concluded and trail.entries:
        publish.conclude_entry(client, trail.entries[-1], trail.newest.run_id)
    for each in trail.unfinished:
        entry_store.close_unfinished_entry(client, each)
