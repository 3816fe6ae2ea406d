"""Audit entries in MLflow: each is a run of the use case's experiment of releases."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from pipelines.registry import versions
from pipelines.release.audit.approval_rules import version_tags
from pipelines.release.audit.trail import AuditEntry, StoredEntry
from pipelines.training import mlflow_tracking
from serving.release import keys, signatures
from settings import Settings

EVIDENCE_FILE = "evidence.json"
SIGNATURE_TAG = "signature"


def audit_experiment(settings: Settings) -> str:
    """Return the name of the experiment with the entries."""
    return f"{settings.usecase} releases"


def restore_experiment(settings: Settings) -> str:
    """Return the id of the experiment of all entries, which is restored if it was deleted."""
    return mlflow_tracking.experiment_id(settings, audit_experiment(settings))


def append_entry(settings: Settings, client: Any, entry: AuditEntry, evidence: str) -> str:
    """Sign and store the entry; return the id of its run.

    It counts once the document holds its digest.
    """
    experiment = restore_experiment(settings)
    signature = signatures.sign(settings, "entry", entry.body.encode())
    run = client.create_run(
        experiment, run_name=f"{entry.seq} {entry.action}",
        tags={
            **entry.readable_tags(), "entry": entry.body, "digest": entry.digest,
            SIGNATURE_TAG: signature,
        },
    )  # fmt: skip
    client.log_text(run.info.run_id, evidence, EVIDENCE_FILE)
    return str(run.info.run_id)


def conclude_entry(settings: Settings, client: Any, entry: AuditEntry, run_id: str) -> None:
    """Tag the version with the decision, then mark the entry as concluded.

    A version that was deleted in the registry gets no tags; the entry has all facts.
    """
    for version, tags in version_tags(entry).items():
        if versions.find_version(settings, client, version) is not None:
            for name, text in tags.items():
                client.set_model_version_tag(settings.usecase, version, name, text)
    client.set_terminated(run_id, status="FINISHED")


def read_entries(settings: Settings, client: Any, *, evidence: bool = False) -> list[StoredEntry]:
    """Return all stored entries, also deleted ones; with `evidence`, digest the evidence files."""
    import mlflow
    from mlflow.entities import ViewType

    experiment = client.get_experiment_by_name(audit_experiment(settings))
    if experiment is None:
        return []
    runs = mlflow.search_runs(
        [experiment.experiment_id], run_view_type=ViewType.ALL, output_format="list"
    )

    trusted = keys.read_trusted_keys(settings)

    def digest(run_id: str) -> str:
        return sha256(read_evidence(run_id).encode()).hexdigest()

    def fault(tags: Mapping[str, str]) -> str | None:
        body = tags.get("entry", "").encode()
        return signatures.find_fault(trusted, "entry", body, tags.get(SIGNATURE_TAG))

    return [
        StoredEntry(
            run.info.run_id, run.data.tags, concluded=run.info.status == "FINISHED",
            running=run.info.status == "RUNNING",
            deleted=run.info.lifecycle_stage == "deleted",
            evidence=digest(run.info.run_id) if evidence else None,
            signature_fault=fault(run.data.tags),
        )
        for run in runs
    ]  # fmt: skip


def read_evidence(run_id: str) -> str:
    """Return the text of the evidence file; empty, which no digest fits, if it is missing."""
    from mlflow.artifacts import load_text
    from mlflow.exceptions import MlflowException

    try:
        return load_text(f"runs:/{run_id}/{EVIDENCE_FILE}")
    except (MlflowException, OSError):
        return ""
