"""Why was an answer as it was? The way to its features, version, data, gates and approval."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pipelines.registry import versions
from pipelines.release.audit import approval_rules, recorder, rescoring
from pipelines.release.audit import trail as chained
from pipelines.release.audit.trail import AuditEntry
from pipelines.training import mlflow_tracking
from serving.prediction_log import reader
from settings import Settings, UserError

VERSION_DELETED = {"unknown": "the version was deleted in the registry"}


def explain_prediction(settings: Settings, request_id: str) -> dict[str, dict[str, Any]]:
    """The prediction, its request and features, its version with data and gates, its release.

    It is computed again from the logged features, and these are compared with today's tables.

    Raises `UserError` if the log has no such prediction.
    """
    log = reader.read_predictions(settings.predictions)
    rows = log[log["request_id"] == request_id]
    if rows.empty:
        raise UserError(f"No prediction {request_id} is in {settings.predictions}.")
    row = rows.iloc[0].to_dict()
    logged = json.loads(rows.iloc[0].to_json(date_format="iso", double_precision=15))
    fields = {name: value for name, value in logged.items() if value is not None}
    version = str(fields["model_version"])
    known = recorder.read_recorded_release(settings).trail.entries
    with versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        found = versions.find_version(client, version)
        gates = _gates(client, found.run_id) if found else VERSION_DELETED
    return {
        "Prediction": {name: value for name, value in fields.items() if "." not in name},
        "Request": _below("request.", fields),
        "Features": _below("features.", fields),
        "Computed again": rescoring.rescore_prediction(settings, row),
        "Feature tables today": rescoring.compare_with_feature_tables(settings, row),
        f"Version {version}": dict(found.tags) if found else VERSION_DELETED,
        "Gates": gates,
        "Release": release_of_prediction(known, fields),
    }


def _below(prefix: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name[len(prefix) :]: fields[name] for name in fields if name.startswith(prefix)}


def _gates(client: Any, run_id: str) -> dict[str, str]:
    """What each gate said of the version, as it was registered."""
    from mlflow.artifacts import load_dict
    from mlflow.exceptions import MlflowException

    try:
        facts = load_dict(f"{client.get_run(run_id).info.artifact_uri}/facts.json")
    except (MlflowException, OSError) as error:
        return {"unknown": f"the version's facts can't be had ({str(error)[:100]})"}
    return {
        each["gate"]: f"{'passed' if each['passed'] else 'refused'} ({each['told']})"
        for each in facts.get("verdicts", [])
    }


def release_of_prediction(known: Sequence[AuditEntry], fields: Mapping[str, Any]) -> dict[str, str]:
    """The entry under which the answer was given, and the approval and overrides that held then."""
    version, digest = str(fields["model_version"]), str(fields["model_digest"])
    moment = datetime.fromisoformat(str(fields["logged_at"]))
    served = [e for e in known if e.after["generation"] == fields.get("generation")]
    before = [e for e in known if e.at <= moment]
    told = "; ".join(chained.format_entry(served[-1])) if served else "not on the record"
    held, why = approval_rules.find_approval(before, version, digest, moment)
    found = {
        "entry": told,
        "approval": f"by {held.by} at {held.at:%Y-%m-%d %H:%M} UTC: {held.why}" if held else why,
    }
    for gate, entry in approval_rules.active_overrides(before, version, digest, moment).items():
        found[f"override of '{gate}'"] = f"by {entry.by}: {entry.why}"
    return found
