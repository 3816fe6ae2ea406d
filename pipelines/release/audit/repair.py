"""Repair of a malformed, lost or outdated release document, from the services' release file.

The release file is the last good document. The repair is an audit entry like any other change.
It does not restore missing entries: `mlops history --verify` continues to report them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pipelines.registry import versions
from pipelines.release.audit import entry_store, publish, recorder
from pipelines.release.audit.release_document import (
    RELEASE_TAG,
    ReleaseChange,
    ReleaseDocument,
    read_release_document,
)
from pipelines.release.audit.release_lock import release_lock
from pipelines.release.audit.trail import verify_trail
from pipelines.training import mlflow_tracking
from settings import LoopError, Settings, UserError


def repair_release_document(
    settings: Settings, *, why: str, by: str, at: datetime | None = None
) -> ReleaseDocument:
    """Rewrite the release document from the release file; return it.

    Raises `UserError` if the document is valid and not older than the file. Raises `LoopError` if
    the file is unusable, too: delete the document's tag, then `mlops promote` starts a new one.
    """
    recorder.require_name_and_reason(by, why)
    with release_lock(settings), versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        document, problem = _valid_document(settings, client)
        served = publish.read_served_release(settings)
        if document is not None and (served is None or served.generation <= document.generation):
            raise UserError(
                f"The release document is valid (generation {document.generation}): there is "
                "nothing to repair. The next change completes a change that was killed."
            )
        if served is None:
            raise LoopError(
                f"{problem} And there is no usable {settings.release_file} to repair it from. "
                f"Delete the tag `{RELEASE_TAG}` of the registered model, then run `mlops promote "
                "VERSION`."
            )
        change = ReleaseChange(
            "repair", served.champion.version, served.champion, served.challenger, served.frozen,
            {"found": problem if document is None else f"generation {document.generation}"},
        )  # fmt: skip
        moment = at or datetime.now(UTC)
        return recorder.apply_change(
            settings, client, served, change, by=by, why=why, evidence={}, at=moment
        )


def _valid_document(settings: Settings, client: Any) -> tuple[ReleaseDocument | None, str]:
    """The document, None if it is malformed or its newest entry contradicts it; and the problem."""
    try:
        document = read_release_document(settings, client)
    except LoopError as error:
        return None, str(error)[:300]
    trail = verify_trail(entry_store.read_entries(settings, client), document.history)
    consistent = recorder.RecordedRelease(document, trail).is_consistent
    if not consistent and publish.read_served_release(settings) != document:
        return None, "its newest entry contradicts it"
    return document, ""
