"""Rescoring of a logged prediction, and comparison of its features with today's feature tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipelines.registry.download import download_version
from serving.models.evaluator import Evaluator
from settings import LoopError, Settings

MAX_NAMED_FEATURES = 5  # differing features that a comparison lists


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
        computed = float(evaluator.predict([_fields_with_prefix("features.", logged)])[0])
    except LoopError as error:
        return {"reproduced": f"no: scoring failed ({error})", "recorded": recorded}
    same = "yes" if computed == recorded else "no"
    return {"reproduced": same, "recorded": recorded, "computed": computed}


def _load_version(settings: Settings, version: str, digest: str) -> Evaluator:
    files = settings.var / "models" / version / "served"
    try:  # the local files may outlive a version that was deleted in the registry
        return Evaluator.load(files, digest)
    except LoopError:
        download_version(settings, version)
        return Evaluator.load(files, digest)


def compare_with_feature_tables(settings: Settings, logged: Mapping[str, Any]) -> dict[str, Any]:
    """Return which features differ from a point-in-time join on today's tables, in words."""
    request = _fields_with_prefix("request.", logged)
    if not any(value is not None for value in request.values()):
        return {"features": "not looked up: they came with the request"}
    if not (settings.data / "features").is_dir():
        return {"features": f"not compared: no tables in {settings.data / 'features'}"}
    try:
        today = _join_features(settings, request)
    except (LoopError, ValueError) as error:
        return {"features": f"not compared: {error}"}
    served = _fields_with_prefix("features.", logged)
    differing = [name for name, value in served.items() if name in today and today[name] != value]
    if not differing:
        return {"features": "the tables give the logged features today, too"}
    summary = (
        f"{len(differing)} of {len(served)} differ today: the tables' rows were replaced, or the "
        "online store did not hold them at the time. The answer used the logged ones"
    )
    values = {
        name: f"logged {served[name]}, today {today[name]}"
        for name in differing[:MAX_NAMED_FEATURES]
    }
    return {"features": summary, **values}


def _join_features(settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
    import pandas as pd

    from features.point_in_time import training_frame
    from usecase import request as cases

    case = cases.PredictRequest.model_validate(
        {name: _number(value) for name, value in request.items()}
    )
    moment = pd.Timestamp(cases.decision_time(case)).as_unit("us")
    row = {"key": cases.key(case), "decision_time": moment, **cases.entity_row(case)}
    frame = training_frame(settings, pd.DataFrame([row]))
    return {str(name): _clean(value) for name, value in frame.iloc[0].items()}


def _fields_with_prefix(prefix: str, logged: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name[len(prefix) :]: _clean(value)
        for name, value in logged.items()
        if name.startswith(prefix)
    }


def _clean(value: Any) -> Any:
    """The value, with NaN as None."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: Any) -> Any:
    # A log column with missing values stores integers as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value
