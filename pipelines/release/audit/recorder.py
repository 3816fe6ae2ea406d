"""What is released, on the record: one document in the registry, and an entry for every change.

The document is the tag `release` of the registered model; its entries are runs of the experiment
`releases`. A change writes, in this order: the entry; the document, which names the entry; the file
that services follow; aliases and tags. What a killed one left undone, the next call does first.
MLflow has no compare-and-set: docs/decisions/ says what the lock here protects against.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pipelines.registry import versions
from pipelines.registry.versions import REGISTERED_MODEL
from pipelines.release.audit import entry_store
from pipelines.release.audit.approval_rules import version_tags
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
from serving.release import document as release
from serving.release.document import Release
from settings import LoopError, Settings, UserError


class SupersededError(LoopError):
    """What the caller decided on is not what stands any more: somebody else changed it since."""

    code = "superseded"


@dataclass(frozen=True)
class RecordedRelease:
    """Where the record stands: the document, and the entries that it vouches for."""

    document: ReleaseDocument
    trail: AuditTrail

    @property
    def is_consistent(self) -> bool:
        """Whether the newest entry says what the document says, or there is none yet."""
        if not self.document.history.count:
            return True
        known = self.trail.entries
        return bool(known) and dict(known[-1].after) == recorded_arms(self.document)

    def propose_change(self, action: str, version: str | None, **changed: Any) -> ReleaseChange:
        """This, with what is `changed` of champion, challenger, frozen; `details` if any."""
        state = self.document
        unchanged: dict[str, Any] = {
            "champion": state.champion, "challenger": state.challenger, "frozen": state.frozen,
            "details": {},
        }  # fmt: skip
        return ReleaseChange(action, version, **(unchanged | changed))


def read_recorded_release(settings: Settings) -> RecordedRelease:
    """The document and its entries. Raises `LoopError` if it is nonsense, or MLflow is away."""
    with versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        state = read_release_document(settings, client)
        return RecordedRelease(
            state, verify_trail(entry_store.read_entries(settings, client), state.history)
        )


def record_change(
    settings: Settings, decide: Callable[[RecordedRelease], ReleaseChange | None], *,
    by: str, why: str, evidence: Mapping[str, Any] | None = None,
    generation: int | None = None, at: datetime | None = None,
) -> tuple[ReleaseDocument, ReleaseDocument]:  # fmt: skip
    """Records and makes the change that `decide` makes of what stands; before and after.

    None of `decide` is no change. `generation` is that of the document on which the caller's own
    decision was based: raises `SupersededError` if another stands by now. Raises `UserError`
    without a reason, `LoopError` if the lock is held, MLflow is away, or the document is nonsense:
    what is served then stays as it is, or the next call carries on what is recorded already.
    """
    require_name_and_reason(by, why)
    with release_lock(settings), versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        state = read_release_document(settings, client)
        found = RecordedRelease(
            state, verify_trail(entry_store.read_entries(settings, client), state.history)
        )
        _carry_on(settings, client, found)
        if generation is not None and generation != state.generation:
            raise SupersededError(
                f"Nothing was changed: the decision was based on generation {generation} of the "
                f"release, and generation {state.generation} stands. Look again, decide again."
            )
        step = decide(found)
        if step is None:
            return state, state
        moment = at or datetime.now(UTC)
        after = apply_change(
            settings, client, state, step, by=by, why=why, evidence=evidence or {}, at=moment
        )
        return state, after


def require_name_and_reason(by: str, why: str) -> None:
    """Raises `UserError` if nobody stands for a change, or without a reason that can be kept."""
    if not (by.strip() and why.strip()) or len(by) > 100 or len(why) > 1000:
        raise UserError(
            "A change needs a name (--by, up to 100 characters) and a reason (up to 1,000)."
        )


def apply_change(
    settings: Settings,
    client: Any,
    state: ReleaseDocument,
    step: ReleaseChange,
    *,
    by: str,
    why: str,
    evidence: Mapping[str, Any],
    at: datetime,
) -> ReleaseDocument:
    """Writes entry, document, file, aliases and tags, in this order; to be called under the lock.

    Raises `SupersededError` if somebody without the lock wrote over the document.
    """
    details = dict(step.details)
    if gone := missing_arm_versions(client, state, step):
        details["gone"] = gone
    text = json.dumps(dict(evidence), sort_keys=True, indent=1, default=str)
    entry = AuditEntry(
        seq=state.history.count + 1,
        at=at.astimezone(UTC),
        by=by,
        action=step.action,
        version=step.version,
        why=why,
        before=recorded_arms(state),
        after=recorded_arms(step, state.generation + 1),
        evidence=sha256(text.encode()).hexdigest(),
        previous=state.history.head,
        details=details,
    )
    after = next_document(state, step, entry)
    run_id = entry_store.append_entry(settings, client, entry, text)
    write_release_document(client, after)
    # Whoever wrote without our lock, from another machine or by hand, may have been the last.
    if (written := read_release_document(settings, client)) != after:
        raise SupersededError(
            f"Generation {written.generation} of the release was written by somebody without the "
            "lock, over ours. The services were told nothing: look at `mlops history --verify`."
        )
    sync_file_and_aliases(settings, client, after)
    conclude_entry(client, entry, run_id)
    return after


def missing_arm_versions(client: Any, *states: ReleaseDocument | ReleaseChange) -> list[str]:
    """The versions of these arms that the registry has no more; they serve from their files."""
    served = {each.champion.version for each in states if each.champion}
    served |= {each.challenger.model.version for each in states if each.challenger}
    return sorted(each for each in served if versions.find_version(client, each) is None)


def sync_file_and_aliases(settings: Settings, client: Any, state: ReleaseDocument) -> None:
    """Has the services' file and the aliases say what the document says.

    A version that was deleted in the registry has no alias: aliases are there to be seen.
    """
    if isinstance(state, Release) and read_served_release(settings) != state:
        release.write_release(settings.release_file, state)
    model = versions.find_registered_model(client)
    aliases = model.aliases if model else {}
    wanted = {
        "champion": state.champion.version if state.champion else None,
        "challenger": state.challenger.model.version if state.challenger else None,
    }
    for alias, version in wanted.items():
        if version is not None and str(aliases.get(alias)) == version:
            continue
        if version is not None and versions.find_version(client, version) is not None:
            client.set_registered_model_alias(REGISTERED_MODEL, alias, version)
        elif alias in aliases:
            client.delete_registered_model_alias(REGISTERED_MODEL, alias)


def conclude_entry(client: Any, entry: AuditEntry, run_id: str) -> None:
    """Tags the version with what was decided of it; last, the entry counts as concluded.

    A version that was deleted in the registry gets no tags: the entry says it all.
    """
    for version, tags in version_tags(entry).items():
        if versions.find_version(client, version) is None:
            continue
        for name, text in tags.items():
            client.set_model_version_tag(REGISTERED_MODEL, version, name, text)
    client.set_terminated(run_id, status="FINISHED")


def _carry_on(settings: Settings, client: Any, found: RecordedRelease) -> None:
    """Does what a killed change left undone; refuses where the services are ahead of the record."""
    state, newest = found.document, found.trail.newest
    ahead = read_served_release(settings)
    if ahead is not None and ahead.generation > state.generation:
        raise LoopError(
            f"{settings.release_file} says generation {ahead.generation} and the registry only "
            f"{state.generation}: the registry was set back, or a freeze was made while it was "
            "away. What is served stays as it is; `mlops repair` makes the registry follow it."
        )
    if ahead != state and not found.is_consistent:
        raise LoopError(
            "The release document was changed by hand, or its newest entry was: they contradict "
            "each other. What is served stays as it is; `mlops repair` makes the registry follow "
            "it, and `mlops history --verify` says what was changed."
        )
    if state.generation:
        sync_file_and_aliases(settings, client, state)
    if newest is not None and not newest.concluded and found.trail.entries:
        conclude_entry(client, found.trail.entries[-1], newest.run_id)
    for each in found.trail.unfinished:
        entry_store.close_unfinished_entry(client, each)


def read_served_release(settings: Settings) -> Release | None:
    """What the file says; None too if it is nonsense, which is written over."""
    try:
        return release.read_release(settings.release_file)
    except LoopError:
        return None
