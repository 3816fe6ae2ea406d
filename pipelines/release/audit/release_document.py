"""What does the registry's release document say? Its reading, its writing, what follows from it.

It is the tag `release` of the registered model: the same fields as the file that services follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.registry import versions
from pipelines.registry.versions import REGISTERED_MODEL
from pipelines.release.audit.trail import AuditEntry
from serving.release import document as release
from serving.release.document import MALFORMED_ERRORS, Challenger, HistoryHead, Release, ServedModel
from settings import LoopError, Settings

RELEASE_TAG = "release"


@dataclass(frozen=True)
class Unreleased:
    """The document before the first champion: it may hold approvals, and a freeze."""

    generation: int
    changed_at: datetime
    frozen: bool = False
    history: HistoryHead = field(default_factory=HistoryHead)
    champion: None = None
    challenger: None = None


ReleaseDocument = Release | Unreleased


@dataclass(frozen=True)
class ReleaseChange:
    """What a change makes of the document; approvals leave the arms as they are."""

    action: str
    version: str | None
    champion: ServedModel | None
    challenger: Challenger | None
    frozen: bool
    details: Mapping[str, Any]


def next_document(
    state: ReleaseDocument, step: ReleaseChange, entry: AuditEntry
) -> ReleaseDocument:
    """The document after the change."""
    history = HistoryHead(entry.seq, entry.digest)
    if step.champion is None:
        return Unreleased(state.generation + 1, entry.at, step.frozen, history)
    return Release(
        state.generation + 1, step.champion, entry.at, step.challenger, step.frozen, history
    )


def recorded_arms(
    state: ReleaseDocument | ReleaseChange, generation: int | None = None
) -> dict[str, Any]:
    """What serves, as an entry keeps it."""
    champion, challenger = state.champion, state.challenger
    return {
        "generation": state.generation if not isinstance(state, ReleaseChange) else generation,
        "champion": champion and _kept(champion),
        "challenger": challenger
        and {
            **_kept(challenger.model),
            "stage": challenger.stage, "percent": challenger.percent, "name": challenger.name,
        },
        "frozen": state.frozen,
    }  # fmt: skip


def _kept(model: ServedModel) -> dict[str, Any]:
    return {"version": model.version, "digest": model.digest, "threshold": model.threshold}


def read_release_document(settings: Settings, client: Any) -> ReleaseDocument:
    """What the registry says; before the first change, what an older release left in the file."""
    model = versions.find_registered_model(client)
    text = model.tags.get(RELEASE_TAG) if model else None
    if text is None:
        return _undocumented(settings)
    try:
        fields = json.loads(text)
        if fields["champion"] is not None:
            return release.parse_release(fields)
        return Unreleased(
            fields["generation"], datetime.fromisoformat(fields["changed_at"]), fields["frozen"],
            HistoryHead(**fields["history"]),
        )  # fmt: skip
    except MALFORMED_ERRORS as error:
        raise LoopError(
            f"The release document (tag `{RELEASE_TAG}` of the registered model "
            f"{REGISTERED_MODEL}) cannot be "
            f"used ({type(error).__name__}: {error}). What is served stays as it is; `mlops "
            "repair` writes it anew from that."
        ) from error


def _undocumented(settings: Settings) -> ReleaseDocument:
    left = release.read_release(settings.release_file)
    if left is None:
        return Unreleased(0, datetime.fromtimestamp(0, UTC))
    if left.history.count:
        raise LoopError(
            f"The registry has lost its release document (tag `{RELEASE_TAG}` of the registered "
            f"model "
            f"{REGISTERED_MODEL}), while {settings.release_file} says generation "
            f"{left.generation}. What is "
            "served stays as it is; `mlops repair` writes it anew from that."
        )
    return left


def write_release_document(client: Any, state: ReleaseDocument) -> None:
    """Makes `state` the document: from here on the change stands, and is carried on if killed.

    The registered model is made again if it was deleted, with all that it held.
    """
    if versions.find_registered_model(client) is None:
        client.create_registered_model(REGISTERED_MODEL)
    client.set_registered_model_tag(REGISTERED_MODEL, RELEASE_TAG, release.document_json(state))
