"""How are the entries of the record kept? Each a run of MLflow's experiment `releases`."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.release.audit.trail import AuditEntry, StoredEntry
from pipelines.training import mlflow_tracking
from settings import LoopError, Settings

AUDIT_EXPERIMENT = "releases"
EVIDENCE_FILE = "evidence.json"
ABANDONED_STATUS = "KILLED"


def append_entry(settings: Settings, client: Any, entry: AuditEntry, evidence: str) -> str:
    """Keeps the entry; the id of its run. It counts from when the document names it."""
    experiment = mlflow_tracking.experiment_id(settings, AUDIT_EXPERIMENT)
    run = client.create_run(
        experiment, run_name=f"{entry.seq} {entry.action}",
        tags={**entry.readable_tags(), "entry": entry.body, "digest": entry.digest},
    )  # fmt: skip
    client.log_text(run.info.run_id, evidence, EVIDENCE_FILE)
    return str(run.info.run_id)


def read_entries(settings: Settings, client: Any, *, evidence: bool = False) -> list[StoredEntry]:
    """All that is kept, deleted or not; with `evidence` its files are digested, too."""
    from mlflow.entities import ViewType

    experiment = client.get_experiment_by_name(AUDIT_EXPERIMENT)
    if experiment is None:
        return []
    found, token = [], None
    while True:
        page = client.search_runs(
            [experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1000,
            page_token=token,
        )  # fmt: skip
        found += page
        token = page.token
        if not token:
            break
    return [
        StoredEntry(
            run_id=run.info.run_id, tags=run.data.tags,
            concluded=run.info.status == "FINISHED",
            deleted=run.info.lifecycle_stage == "deleted",
            evidence=_evidence(client, run.info.run_id) if evidence else None,
        )
        for run in found
    ]  # fmt: skip


def close_unfinished_entry(client: Any, stored: StoredEntry) -> None:
    """Ends the run of an attempt that no document ever named; it stays, and is told as such."""
    run = client.get_run(stored.run_id)
    if run.info.status == "RUNNING" and not stored.deleted:
        client.set_terminated(stored.run_id, status=ABANDONED_STATUS)


def read_evidence(client: Any, run_id: str) -> str:
    """The text of the file. Raises `LoopError` if it is gone."""
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run_id, EVIDENCE_FILE, folder)).read_text()
        except (MlflowException, OSError) as error:
            raise LoopError(f"The evidence of entry {run_id} is gone: {error}") from error


def _evidence(client: Any, run_id: str) -> str:
    try:
        return sha256(read_evidence(client, run_id).encode()).hexdigest()
    except LoopError:
        return "gone"
