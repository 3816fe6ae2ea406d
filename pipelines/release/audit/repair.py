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
from pipelines.release.audit.release_document import DOCUMENT, State, Step, document
from pipelines.release.audit.release_lock import locked
from pipelines.release.audit.trail import chain
from pipelines.training import mlflow_tracking
from settings import LoopError, Settings, UserError


def repair(settings: Settings, *, why: str, by: str, at: datetime | None = None) -> State:
    """Writes the document from the file that is served, if it needs that. The document.

    Raises `UserError` if the document can be used and the services are not ahead of it; `LoopError`
    if the file can't be used either: then `mlops promote` begins anew once its tag is deleted.
    """
    recorder.require_words(by, why)
    with locked(settings), versions.reached(settings):
        client = mlflow_tracking.mlflow_client(settings)
        said, wrong = _usable(settings, client)
        served = recorder.served(settings)
        if said is not None and (served is None or served.generation <= said.generation):
            raise UserError(
                f"The release document can be used (generation {said.generation}): there is "
                "nothing to repair, and whatever a killed change left undone the next one does."
            )
        if served is None:
            raise LoopError(
                f"{wrong} And {settings.release_file} is not there to repair it from. Delete the "
                f"tag `{DOCUMENT}` of the registered model, then `mlops promote VERSION`."
            )
        step = Step(
            "repair", served.champion.version, served.champion, served.challenger, served.frozen,
            {"found": wrong if said is None else f"generation {said.generation}"},
        )  # fmt: skip
        moment = at or datetime.now(UTC)
        return recorder.make(settings, client, served, step, by=by, why=why, evidence={}, at=moment)


def _usable(settings: Settings, client: Any) -> tuple[State | None, str]:
    """The document if it is one that its newest entry vouches for, and what is wrong with it."""
    try:
        state = document(settings, client)
    except LoopError as error:
        return None, str(error)[:300]
    kept = chain(entry_store.stored(settings, client), state.history)
    if not recorder.Stands(state, kept).vouched and recorder.served(settings) != state:
        return None, "its newest entry contradicts it"
    return state, ""
