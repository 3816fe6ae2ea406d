"""An answer computed again from the log, and its features compared with those of today's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipelines.registry.download import download_version
from serving.models.evaluator import Evaluator
from settings import LoopError, Settings

MAX_NAMED_FEATURES = 5  # features of a comparison that are named


def rescore_prediction(settings: Settings, logged: Mapping[str, Any]) -> dict[str, Any]:
    """`reproduced` (yes or no), and the `recorded` and the `computed` probability of an answer.

    `logged` is its row of the log. Its logged features are scored by the files of its version,
    which must have the logged digest: no feature table is read. Where that can't be done,
    `reproduced` is no and says why.
    """
    recorded = float(logged["probability"])
    try:
        evaluator = _model(settings, str(logged["model_version"]), str(logged["model_digest"]))
        computed = float(evaluator.predict([_below("features.", logged)])[0])
    except LoopError as error:
        return {"reproduced": f"no: it could not be computed ({error})", "recorded": recorded}
    same = "yes" if computed == recorded else "no"
    return {"reproduced": same, "recorded": recorded, "computed": computed}


def _model(settings: Settings, version: str, digest: str) -> Evaluator:
    files = settings.var / "models" / version / "served"
    try:  # a version that was deleted in the registry may be here still
        return Evaluator.load(files, digest)
    except LoopError:
        download_version(settings, version)
        return Evaluator.load(files, digest)


def compare_with_feature_tables(settings: Settings, logged: Mapping[str, Any]) -> dict[str, Any]:
    """Which features a join of today gives otherwise than they were logged, in words."""
    request = _below("request.", logged)
    if not any(value is not None for value in request.values()):
        return {"features": "not looked up: they came with the request"}
    if not (settings.data / "features").is_dir():
        return {"features": f"not compared: no tables in {settings.data / 'features'}"}
    try:
        now = _joined(settings, request)
    except (LoopError, ValueError) as error:
        return {"features": f"not compared: {error}"}
    then = _below("features.", logged)
    differing = [name for name, value in then.items() if name in now and now[name] != value]
    if not differing:
        return {"features": "the tables give the logged features today, too"}
    told = (
        f"{len(differing)} of {len(then)} differ today: the tables' rows were replaced, or the "
        "online store did not hold them at the time. The answer was made from the logged ones"
    )
    values = {
        name: f"logged {then[name]}, today {now[name]}" for name in differing[:MAX_NAMED_FEATURES]
    }
    return {"features": told, **values}


def _joined(settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
    import pandas as pd

    from features.point_in_time import training_frame
    from usecase import request as cases

    asked = cases.PredictRequest.model_validate(
        {name: _number(value) for name, value in request.items()}
    )
    moment = pd.Timestamp(cases.decision_time(asked)).as_unit("us")
    row = {"key": cases.key(asked), "decision_time": moment, **cases.entity_row(asked)}
    frame = training_frame(settings, pd.DataFrame([row]))
    return {str(name): _clean(value) for name, value in frame.iloc[0].items()}


def _below(prefix: str, logged: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name[len(prefix) :]: _clean(value)
        for name, value in logged.items()
        if name.startswith(prefix)
    }


def _clean(value: Any) -> Any:
    """A missing value as None, whatever column it was in."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: Any) -> Any:
    # A column of the log with a gap holds whole numbers as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value
