"""The release document is nonsense, lost or set back: how does it say again what is served?

From the file that the services follow, which is the last good document. It is a change on the
record like any other. An entry that is missing stays missing, and `mlops history --verify` goes on
saying so: a repair mends the release, not the history.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pipelines.registry import versions
from pipelines.release.audit import entry_store, recorder
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
    """Writes the document from the file that is served, if it needs that. The document.

    Raises `UserError` if the document can be used and the services are not ahead of it; `LoopError`
    if the file can't be used either: then `mlops promote` begins anew once its tag is deleted.
    """
    recorder.require_name_and_reason(by, why)
    with release_lock(settings), versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        said, wrong = _usable(settings, client)
        served = recorder.read_served_release(settings)
        if said is not None and (served is None or served.generation <= said.generation):
            raise UserError(
                f"The release document can be used (generation {said.generation}): there is "
                "nothing to repair, and whatever a killed change left undone the next one does."
            )
        if served is None:
            raise LoopError(
                f"{wrong} And {settings.release_file} is not there to repair it from. Delete the "
                f"tag `{RELEASE_TAG}` of the registered model, then `mlops promote VERSION`."
            )
        step = ReleaseChange(
            "repair", served.champion.version, served.champion, served.challenger, served.frozen,
            {"found": wrong if said is None else f"generation {said.generation}"},
        )  # fmt: skip
        moment = at or datetime.now(UTC)
        return recorder.apply_change(
            settings, client, served, step, by=by, why=why, evidence={}, at=moment
        )


def _usable(settings: Settings, client: Any) -> tuple[ReleaseDocument | None, str]:
    """The document if it is one that its newest entry vouches for, and what is wrong with it."""
    try:
        state = read_release_document(settings, client)
    except LoopError as error:
        return None, str(error)[:300]
    kept = verify_trail(entry_store.read_entries(settings, client), state.history)
    if (
        not recorder.RecordedRelease(state, kept).is_consistent
        and recorder.read_served_release(settings) != state
    ):
        return None, "its newest entry contradicts it"
    return state, ""
