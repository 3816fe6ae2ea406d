"""The release document in the registry: the tag `release` of the registered model, as JSON.

It has the same fields as the services' release file (`serving.release.document`).
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
    """The document before the first champion: approvals and a freeze are already possible."""

    generation: int
    changed_at: datetime
    frozen: bool = False
    history: HistoryHead = field(default_factory=HistoryHead)
    champion: None = None
    challenger: None = None


ReleaseDocument = Release | Unreleased


@dataclass(frozen=True)
class ReleaseChange:
    """A change of the document. An approval changes neither champion nor challenger."""

    action: str
    version: str | None
    champion: ServedModel | None
    challenger: Challenger | None
    frozen: bool
    details: Mapping[str, Any]


def next_document(
    document: ReleaseDocument, change: ReleaseChange, entry: AuditEntry
) -> ReleaseDocument:
    """Return the document after `change`, with `entry` as its newest audit entry."""
    generation, history = document.generation + 1, HistoryHead(entry.seq, entry.digest)
    if change.champion is None:
        return Unreleased(generation, entry.at, change.frozen, history)
    return Release(generation, change.champion, entry.at, change.challenger, change.frozen, history)


def recorded_arms(
    source: ReleaseDocument | ReleaseChange, generation: int | None = None
) -> dict[str, Any]:
    """Return what `source` serves in the form of an audit entry; a change needs `generation`."""
    champion, challenger = source.champion, source.challenger
    return {
        "generation": generation if isinstance(source, ReleaseChange) else source.generation,
        "champion": champion and _recorded_model(champion),
        "challenger": challenger
        and {
            **_recorded_model(challenger.model),
            "stage": challenger.stage, "percent": challenger.percent, "name": challenger.name,
        },
        "frozen": source.frozen,
    }  # fmt: skip


def _recorded_model(model: ServedModel) -> dict[str, Any]:
    return {"version": model.version, "digest": model.digest, "threshold": model.threshold}


def read_release_document(settings: Settings, client: Any) -> ReleaseDocument:
    """Return the registry's document; without one, the release file of a release before it.

    Raises `LoopError` if the document is malformed or lost.
    """
    model = versions.find_registered_model(client)
    text = model.tags.get(RELEASE_TAG) if model else None
    if text is None:
        return _document_of_older_release(settings)
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
            f"{REGISTERED_MODEL}) cannot be used ({type(error).__name__}: {error}). Serving is "
            "unaffected. Run `mlops repair` to rewrite it from the release file."
        ) from error


def _document_of_older_release(settings: Settings) -> ReleaseDocument:
    served = release.read_release(settings.release_file)
    if served is None:
        return Unreleased(0, datetime.fromtimestamp(0, UTC))
    if served.history.count:
        raise LoopError(
            f"The registry has lost its release document (tag `{RELEASE_TAG}` of the registered "
            f"model {REGISTERED_MODEL}), but {settings.release_file} has generation "
            f"{served.generation}. Serving is unaffected. Run `mlops repair` to rewrite the "
            "document from this file."
        )
    return served


def write_release_document(client: Any, document: ReleaseDocument) -> None:
    """Write the document. This commits the change: a later kill leaves it to be completed.

    A registered model that was deleted with all its versions is created again.
    """
    if versions.find_registered_model(client) is None:
        client.create_registered_model(REGISTERED_MODEL)
    client.set_registered_model_tag(REGISTERED_MODEL, RELEASE_TAG, release.document_json(document))
