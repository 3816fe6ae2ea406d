"""The lineage of one prediction: its features, version, data, gates and approval (`mlops why`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pipelines.registry import versions
from pipelines.release.audit import approval_rules, recorder, rescoring
from pipelines.release.audit.trail import AuditEntry, format_entry
from pipelines.training import mlflow_tracking
from serving.prediction_log import reader
from settings import Settings, UserError

VERSION_DELETED = {"unknown": "the version was deleted in the registry"}


def explain_prediction(settings: Settings, request_id: str) -> dict[str, dict[str, Any]]:
    """Return sections on the prediction, its request, features, version, gates and release.

    Two of them recompute it from the logged features, and compare these with today's tables.
    Raises `UserError` if the log has no such prediction.
    """
    log = reader.read_predictions(settings.predictions)
    rows = log[log["request_id"] == request_id]
    if rows.empty:
        raise UserError(
            f"There is no prediction {request_id} in {settings.predictions}. Check the "
            "X-Request-Id of the answer."
        )
    row = rows.iloc[0].to_dict()
    logged = json.loads(rows.iloc[0].to_json(date_format="iso", double_precision=15))
    fields = {name: value for name, value in logged.items() if value is not None}
    version = str(fields["model_version"])
    entries = recorder.read_recorded_release(settings).trail.entries
    with versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        registered = versions.find_version(client, version)
        gates = _read_gates(client, registered.run_id) if registered else VERSION_DELETED
    return {
        "Prediction": {name: value for name, value in fields.items() if "." not in name},
        "Request": _fields_with_prefix("request.", fields),
        "Features": _fields_with_prefix("features.", fields),
        "Recomputed": rescoring.rescore_prediction(settings, row),
        "Feature tables today": rescoring.compare_with_feature_tables(settings, row),
        f"Version {version}": dict(registered.tags) if registered else VERSION_DELETED,
        "Gates": gates,
        "Release": release_of_prediction(entries, fields),
    }


def _fields_with_prefix(prefix: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name[len(prefix) :]: fields[name] for name in fields if name.startswith(prefix)}


def _read_gates(client: Any, run_id: str) -> dict[str, str]:
    """The verdict of each gate on the version at its registration."""
    from mlflow.artifacts import load_dict
    from mlflow.exceptions import MlflowException

    try:
        facts = load_dict(f"{client.get_run(run_id).info.artifact_uri}/facts.json")
    except (MlflowException, OSError) as error:
        return {"unknown": f"the version's facts.json is unavailable ({str(error)[:100]})"}
    return {
        each["gate"]: f"{'passed' if each['passed'] else 'refused'} ({each['told']})"
        for each in facts.get("verdicts", [])
    }


def release_of_prediction(
    entries: Sequence[AuditEntry], fields: Mapping[str, Any]
) -> dict[str, str]:
    """Return the audit entry under which the answer was given, the approval and the overrides."""
    version, digest = str(fields["model_version"]), str(fields["model_digest"])
    moment = datetime.fromisoformat(str(fields["logged_at"]))
    served = [e for e in entries if e.after["generation"] == fields.get("generation")]
    before = [e for e in entries if e.at <= moment]
    approval, problem = approval_rules.find_approval(before, version, digest, moment)
    approved = approval and f"by {approval.by} at {approval.at:%Y-%m-%d %H:%M} UTC: {approval.why}"
    release = {
        "entry": "; ".join(format_entry(served[-1])) if served else "not in the audit trail",
        "approval": approved or problem,
    }
    for gate, entry in approval_rules.active_overrides(before, version, digest, moment).items():
        release[f"override of '{gate}'"] = f"by {entry.by}: {entry.why}"
    return release
