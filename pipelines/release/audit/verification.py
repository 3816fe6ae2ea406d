"""Verification: audit trail, release document and release file agree (`mlops history --verify`)."""

from __future__ import annotations

from pipelines.registry import versions
from pipelines.release.audit import entry_store, publish, recorder
from pipelines.release.audit.release_document import read_release_document
from pipelines.release.audit.trail import AuditTrail, verify_trail
from pipelines.training import mlflow_tracking
from settings import Settings


def verify_release(settings: Settings) -> tuple[list[str], AuditTrail]:
    """Return the problems, one sentence each, and the audit trail; evidence files are checked, too.

    Raises `LoopError` if the release document is malformed or MLflow is unavailable.
    """
    with versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        document = read_release_document(settings, client)
        entries = entry_store.read_entries(settings, client, evidence=True)
        trail = verify_trail(entries, document.history)
    problems = list(trail.problems)
    if not problems and not recorder.RecordedRelease(document, trail).is_consistent:
        problems.append("The release document was changed by hand: its newest entry differs.")
    served = publish.read_served_release(settings)
    if served is not None and (served.generation, served.history) != (
        document.generation, document.history,
    ):  # fmt: skip
        problems.append(
            f"{settings.release_file} has generation {served.generation}, the registry "
            f"{document.generation}: a change was killed, or one of them was set back."
        )
    return problems, trail
