"""The lineage of one prediction: its features, version, data, gates and approval (`mlops why`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipelines.registry import versions
from pipelines.registry.download import download_version
from pipelines.release.audit import approval_rules, recorder
from pipelines.release.audit.trail import AuditEntry, format_entry
from serving.models.evaluator import Evaluator
from serving.prediction_log import reader
from settings import LoopError, Settings, UserError

VERSION_DELETED = {"unknown": "the version was deleted in the registry"}
MAX_NAMED_FEATURES = 5  # differing features that a comparison lists


def explain_prediction(settings: Settings, identity: str) -> dict[str, dict[str, Any]]:
    """Return sections on the prediction, its request, features, version, gates and release.

    Two of them recompute it from the logged features, and compare these with today's tables.
    Raises `UserError` if the log has no prediction with this `prediction_id`, and none or several
    with this `request_id`.
    """
    logged = _with_none(_find_logged(settings, identity))
    known = {name: value for name, value in logged.items() if value is not None}
    version = str(logged["model_version"])
    entries = recorder.read_recorded_release(settings).trail.entries
    with versions.reraise_mlflow_errors(settings) as client:
        registered = versions.find_version(settings, client, version)
        gates = _read_gates(client, registered.run_id) if registered else VERSION_DELETED
    return {
        "Prediction": {name: value for name, value in known.items() if "." not in name},
        "Request": _part("request.", known),
        "Features": _part("features.", known),
        "Recomputed": rescore_prediction(settings, logged),
        "Feature tables today": compare_with_feature_tables(settings, logged),
        f"Version {version}": dict(registered.tags) if registered else VERSION_DELETED,
        "Gates": gates,
        "Release": release_of_prediction(entries, logged),
    }


def _find_logged(settings: Settings, identity: str) -> pd.Series:
    log = reader.read_predictions(settings.use_case, settings.predictions)
    rows = log[log["prediction_id"] == identity]
    if rows.empty:
        rows = log[log["request_id"] == identity]
    if rows.empty:
        raise UserError(
            f"There is no prediction {identity} in {settings.predictions}. Check the "
            "prediction_id or the X-Request-Id of the answer."
        )
    if len(rows) > 1:
        candidates = rows[list(reader.IDENTITY)].head(reader.MAX_FOUND).to_string(index=False)
        raise UserError(
            f"{len(rows)} predictions have the request id {identity}. Name one by its "
            f"prediction_id:\n{candidates}"
        )
    return rows.iloc[0]


def _with_none(row: pd.Series) -> dict[str, Any]:
    return {str(name): None if pd.isna(value) else value for name, value in row.to_dict().items()}


def _part(prefix: str, logged: Mapping[str, Any]) -> dict[str, Any]:
    return {n[len(prefix) :]: value for n, value in logged.items() if n.startswith(prefix)}


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
    entries: Sequence[AuditEntry], logged: Mapping[str, Any]
) -> dict[str, str]:
    """Return the audit entry under which the answer was given, the approval and the overrides."""
    version, digest = str(logged["model_version"]), str(logged["model_digest"])
    moment = logged["logged_at"]
    served = [e for e in entries if e.after["generation"] == logged.get("generation")]
    before = [e for e in entries if e.at <= moment]
    approval, problem = approval_rules.find_approval(before, version, digest, moment)
    approved = approval and f"by {approval.by} at {approval.at:%Y-%m-%d %H:%M} UTC: {approval.why}"
    overrides = approval_rules.active_overrides(before, version, digest, moment)
    return {
        "entry": "; ".join(format_entry(served[-1])) if served else "not in the audit trail",
        "approval": approved or problem,
        **{f"override of '{gate}'": f"by {e.by}: {e.why}" for gate, e in overrides.items()},
    }


def rescore_prediction(settings: Settings, logged: Mapping[str, Any]) -> dict[str, Any]:
    """Return `reproduced` (yes or no), and the `recorded` and `computed` probability.

    `logged` is a row of the log. Its features are scored with the files of its version, which must
    have the logged digest. No feature table is read. If this fails, `reproduced` says no and why.
    """
    recorded = float(logged["probability"])
    try:
        evaluator = _load_version(
            settings, str(logged["model_version"]), str(logged["model_digest"])
        )
        computed = float(evaluator.predict([_part("features.", logged)])[0])
    except LoopError as error:
        return {"reproduced": f"no: scoring failed ({error})", "recorded": recorded}
    same = "yes" if computed == recorded else "no"
    return {"reproduced": same, "recorded": recorded, "computed": computed}


def _load_version(settings: Settings, version: str, digest: str) -> Evaluator:
    files = settings.state / "models" / version / "served"
    try:  # the local files may outlive a version that was deleted in the registry
        return Evaluator.load(files, digest)
    except LoopError:
        download_version(settings, version, digest)
        return Evaluator.load(files, digest)


def compare_with_feature_tables(settings: Settings, logged: Mapping[str, Any]) -> dict[str, Any]:
    """Return which features differ from a point-in-time join on today's tables, in words."""
    request, served = _part("request.", logged), _part("features.", logged)
    if not any(value is not None for value in request.values()):
        return {"features": "not looked up: they came with the request"}
    if not (settings.data / "features").is_dir():
        return {"features": f"not compared: no tables in {settings.data / 'features'}"}
    try:
        today = _join_features(settings, request)
    except (LoopError, ValueError) as error:
        return {"features": f"not compared: {error}"}
    differing = [name for name, value in served.items() if name in today and today[name] != value]
    if not differing:
        return {"features": "the tables give the logged features today, too"}
    return {
        "features": f"{len(differing)} of {len(served)} differ today: the tables' rows were "
        "replaced, or the online store did not hold them at the time. The answer used the logged "
        "ones",
        **{
            name: f"logged {served[name]}, today {today[name]}"
            for name in differing[:MAX_NAMED_FEATURES]
        },
    }


def _join_features(settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
    from features.point_in_time import training_frame

    use_case = settings.use_case
    # A log column with missing values stores integers as floats.
    case = use_case.request().model_validate(
        {n: int(v) if isinstance(v, float) and v.is_integer() else v for n, v in request.items()}
    )
    moment = pd.Timestamp(use_case.decision_time(case)).as_unit("us")
    row = {"key": use_case.key(case), "decision_time": moment, **use_case.entity_row(case)}
    return _with_none(training_frame(settings, pd.DataFrame([row])).iloc[0])
