"""Audit entries in MLflow: each entry is a run of the experiment `releases`."""

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
    """Store the entry; return the id of its run. It counts once the document holds its digest."""
    experiment = mlflow_tracking.experiment_id(settings, AUDIT_EXPERIMENT)
    run = client.create_run(
        experiment, run_name=f"{entry.seq} {entry.action}",
        tags={**entry.readable_tags(), "entry": entry.body, "digest": entry.digest},
    )  # fmt: skip
    client.log_text(run.info.run_id, evidence, EVIDENCE_FILE)
    return str(run.info.run_id)


def read_entries(settings: Settings, client: Any, *, evidence: bool = False) -> list[StoredEntry]:
    """Return all stored entries, also deleted ones; with `evidence`, digest the evidence files."""
    from mlflow.entities import ViewType

    experiment = client.get_experiment_by_name(AUDIT_EXPERIMENT)
    if experiment is None:
        return []
    runs, token = [], None
    while True:
        page = client.search_runs(
            [experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1000,
            page_token=token,
        )  # fmt: skip
        runs += page
        token = page.token
        if not token:
            break
    return [
        StoredEntry(
            run_id=run.info.run_id, tags=run.data.tags,
            concluded=run.info.status == "FINISHED",
            deleted=run.info.lifecycle_stage == "deleted",
            evidence=_evidence_digest(client, run.info.run_id) if evidence else None,
        )
        for run in runs
    ]  # fmt: skip


def close_unfinished_entry(client: Any, stored: StoredEntry) -> None:
    """Close the run of a killed change. The run is kept, and shown as unfinished."""
    run = client.get_run(stored.run_id)
    if run.info.status == "RUNNING" and not stored.deleted:
        client.set_terminated(stored.run_id, status=ABANDONED_STATUS)


def read_evidence(client: Any, run_id: str) -> str:
    """Return the text of the evidence file. Raises `LoopError` if it is missing."""
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run_id, EVIDENCE_FILE, folder)).read_text()
        except (MlflowException, OSError) as error:
            raise LoopError(f"The evidence of run {run_id} is missing: {error}") from error


def _evidence_digest(client: Any, run_id: str) -> str:
    try:
        return sha256(read_evidence(client, run_id).encode()).hexdigest()
    except LoopError:
        return "gone"
