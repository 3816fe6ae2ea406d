"""Verification of the record (`mlops history --verify`), and repair of the release document.

The repair rewrites a malformed, lost or outdated document from the services' release file, which is
the last good one. It is an audit entry like any other change, and does not restore missing entries:
the verification continues to report them.
"""

from datetime import datetime

from pipelines.registry import versions
from pipelines.release.audit import recorder
from pipelines.release.audit.release_document import (
    RELEASE_TAG,
    ReleaseDocument,
    read_served_release,
)
from pipelines.release.audit.trail import AuditTrail
from settings import LoopError, Settings, UnreachableError, UserError


def verify_release(settings: Settings) -> tuple[list[str], AuditTrail]:
    """Return the problems, one sentence each, and the audit trail; evidence files are checked, too.

    Raises `LoopError` if the release document is malformed or MLflow is unavailable.
    """
    recorded = recorder.read_recorded_release(settings, evidence=True)
    document, problems = recorded.document, list(recorded.trail.problems)
    if not problems and not recorded.is_consistent:
        problems.append("The release document was changed by hand: its newest entry differs.")
    served = read_served_release(settings)
    if served is not None and (served.generation, served.history) != (
        document.generation, document.history,
    ):  # fmt: skip
        problems.append(
            f"{settings.release_file} has generation {served.generation}, the registry "
            f"{document.generation}: a change was killed, or one of them was set back."
        )
    return problems, recorded.trail


def repair_release_document(
    settings: Settings, *, why: str, by: str, at: datetime | None = None
) -> ReleaseDocument:
    """Rewrite the release document from the release file; return it.

    Raises `UserError` if the document is valid and not older than the file. Raises `LoopError` if
    the file is unusable, too: delete the document's tag, then `mlops promote` starts a new one.
    """
    recorder.require_name_and_reason(by, why)
    with recorder.release_lock(settings), versions.reraise_mlflow_errors(settings) as client:
        served = read_served_release(settings)
        generation, found = _valid_generation(settings)
        if generation is not None and (served is None or served.generation <= generation):
            raise UserError(
                f"The release document is valid (generation {generation}): there is nothing to "
                "repair. The next change completes a change that was killed."
            )
        if served is None:
            raise LoopError(
                f"{found} And there is no usable {settings.release_file} to repair it from. "
                f"Delete the tag `{RELEASE_TAG}` of the registered model, then run `mlops promote "
                "VERSION`."
            )
        return recorder.apply_change(
            settings, client, served, {"by": by, "why": why, "at": at}, "repair",
            served.champion.version, {"found": found},
        )  # fmt: skip


def _valid_generation(settings: Settings) -> tuple[int | None, str]:
    """The document's generation, None if it is unusable or its newest entry contradicts it; why."""
    try:
        recorded = recorder.read_recorded_release(settings)
    except UnreachableError:
        raise
    except LoopError as error:
        return None, str(error)[:300]
    if not recorded.is_consistent and read_served_release(settings) != recorded.document:
        return None, "its newest entry contradicts it"
    return recorded.document.generation, f"generation {recorded.document.generation}"
