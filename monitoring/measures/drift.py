"""Drift of the served cases from those that the model was evaluated on, measured by Evidently.

Tests of significance flag nearly every column between any two windows of this size, so distances
are measured: Wasserstein in standard deviations of the reference for numbers, Jensen-Shannon for
categories. Evidently drops missing values before it compares, so their shares are compared here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import numpy as np
import pandas as pd

from monitoring.retraining_triggers import MonitoringFinding
from settings import LoopError

DRIFT_ADVICE = (
    "Look at the feature tables and at what was published online before you trust these predictions"
)
NUMBER, CATEGORY = "wasserstein", "jensenshannon"
PREDICTION, TARGET = "probability", "label"


@dataclass(frozen=True)
class ColumnDrift:
    """How far a column has moved, and the shares of its values that are missing."""

    score: float
    limit: float
    drifted: bool
    method: str
    missing_reference: float
    missing_current: float


@dataclass(frozen=True)
class DriftResult:
    """The distance of the current rows from the reference; `target` is None without any label.

    A feature that can't be measured (`unmeasured`: why, by name) counts as drifted in `share`: one
    that is served no more is the worst drift there is, and no distance shows it.
    """

    share: float  # of all features, how many have drifted
    missing_change: float  # the largest change of a feature's share of missing values
    features: dict[str, ColumnDrift]  # that could be measured
    prediction: ColumnDrift
    target: ColumnDrift | None
    n_reference: int
    n_current: int
    unmeasured: dict[str, str] = field(default_factory=dict)


def measure_drift(
    reference: pd.DataFrame, current: pd.DataFrame, *, features: Sequence[str],
    categories: Sequence[str], limits: dict[str, Any], seed: int, shown: bool = True,
) -> tuple[DriftResult, Any]:  # fmt: skip
    """The drift of `current` and Evidently's snapshot, which `drift_report.publish` takes.

    Unless it is to be `shown` there is no snapshot: that measures each column four times over and
    draws it. Both frames hold `features`, `probability` and `label` (NaN where unknown); of each at
    most `limits["max_rows"]` rows are compared, drawn with `seed`. Features without a column or a
    value are named in `Drift.unmeasured`. Raises `LoopError` if there is no row, no prediction, or
    no feature that can be measured.
    """
    sides = {"the champion's reference": reference, "the prediction log": current}
    texts, whole = [*categories, TARGET], [*features, PREDICTION, TARGET]
    drawn = [_drawn(frame, whole, texts, limits["max_rows"], seed) for frame in sides.values()]
    unmeasured = _empty(dict(zip(sides, drawn, strict=True)), [*features, PREDICTION])
    measured = [name for name in features if name not in unmeasured]
    if PREDICTION in unmeasured or not measured:
        told = "; ".join(dict.fromkeys(unmeasured.values()))
        raise LoopError(f"Drift can't be measured: {told or 'there is no feature'}. {DRIFT_ADVICE}")
    columns = [*measured, PREDICTION]
    if drawn[1][TARGET].notna().any():
        columns.append(TARGET)
    before, now = (frame[list(features)].isna().mean() for frame in drawn)
    missing_change = float((now - before).abs().max())
    drawn = [frame[columns] for frame in drawn]
    snapshot = None
    if shown:
        snapshot = _snapshot(*drawn, features=measured, texts=texts, limits=limits)
        found = _columns(snapshot, *drawn)
    else:
        found = {name: _column(name, *drawn, texts=texts, limits=limits) for name in columns}
    if not isfinite(found[PREDICTION].score):
        raise LoopError("Evidently gave no score for the predictions.")
    unscored = [name for name in measured if not isfinite(found[name].score)]
    unmeasured |= dict.fromkeys(unscored, "Evidently gave no score")
    ours = {name: found[name] for name in measured if name not in unscored}
    return DriftResult(
        share=(sum(column.drifted for column in ours.values()) + len(unmeasured)) / len(features),
        missing_change=missing_change,
        features=ours,
        unmeasured=unmeasured,
        prediction=found[PREDICTION],
        target=found.get(TARGET),
        n_reference=len(drawn[0]),
        n_current=len(drawn[1]),
    ), snapshot


@contextmanager
def quiet_evidently_imports() -> Iterator[None]:
    """Evidently's import warns of what its own dependencies call deprecated: not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def drift_problems(found: DriftResult) -> list[MonitoringFinding]:
    """A problem that names each feature that could not be measured; none if all were."""
    if not found.unmeasured:
        return []
    told = ", ".join(f"{name} ({why})" for name, why in found.unmeasured.items())
    return [MonitoringFinding("feature_unmeasured", f"drift of {told}. {DRIFT_ADVICE}")]


def _empty(sides: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> dict[str, str]:
    """Which columns have no value on which side, in words by name."""
    found: dict[str, str] = {}
    for what, frame in sides.items():
        if frame.empty:
            raise LoopError(f"There is no row in {what}: nothing to compare.")
        for name in columns:
            if frame[name].isna().all():
                found.setdefault(name, f"no value in {len(frame):,} rows of {what}")
    return found


def _drawn(
    frame: pd.DataFrame, columns: list[str], texts: Sequence[str], n_rows: int, seed: int
) -> pd.DataFrame:
    # A column that is absent has no value in any row.
    drawn = frame.reindex(columns=columns)
    drawn = drawn if len(drawn) <= n_rows else drawn.sample(n_rows, random_state=seed)
    typed = {
        # As text: a label of 1.0 and one of 1 are the same category, and a number never is one.
        name: drawn[name].astype(object).where(drawn[name].isna(), drawn[name].map(_text))
        if name in texts
        else drawn[name].astype("float64")
        for name in columns
    }
    return pd.DataFrame(typed).reset_index(drop=True)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _snapshot(
    reference: pd.DataFrame, current: pd.DataFrame, *, features: Sequence[str],
    texts: Sequence[str], limits: dict[str, Any],
) -> Any:  # fmt: skip
    with quiet_evidently_imports():
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift
        from evidently.presets import DataDriftPreset
    # Declared, or a target of 0 and 1 would be taken for a number.
    definition = DataDefinition(
        numerical_columns=[name for name in current if name not in texts],
        categorical_columns=[name for name in current if name in texts],
    )
    rules = {
        "drift_share": limits["share"],
        "num_method": NUMBER, "num_threshold": limits["number"],
        "cat_method": CATEGORY, "cat_threshold": limits["category"],
    }  # fmt: skip
    single = [
        ValueDrift(
            column=name,
            method=CATEGORY if name in texts else NUMBER,
            threshold=limits["category"] if name in texts else limits["prediction"],
        )
        for name in (PREDICTION, TARGET)
        if name in current
    ]
    report = Report([DataDriftPreset(columns=list(features), **rules), *single])
    with np.errstate(invalid="ignore"):  # it correlates columns of a single value, too
        return report.run(
            Dataset.from_pandas(current, data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition),
        )


def _columns(
    snapshot: Any, reference: pd.DataFrame, current: pd.DataFrame
) -> dict[str, ColumnDrift]:
    found = {}
    for metric in snapshot.dict()["metrics"]:
        asked = metric["config"]
        if "column" not in asked:
            continue
        name, score, limit = asked["column"], float(metric["value"]), float(asked["threshold"])
        found[name] = _judged(reference[name], current[name], score, limit, asked["method"])
    return found


def _column(
    name: str, reference: pd.DataFrame, current: pd.DataFrame, *, texts: Sequence[str],
    limits: dict[str, Any],
) -> ColumnDrift:  # fmt: skip
    """By the function that Evidently's report asks for the distance, and nothing drawn."""
    with quiet_evidently_imports():
        from evidently.legacy.calculations.stattests import get_stattest
    method, kind, limit = (
        (CATEGORY, "cat", limits["category"]) if name in texts
        else (NUMBER, "num", limits["prediction" if name == PREDICTION else "number"])
    )  # fmt: skip
    before, now = (
        side[name].replace([-inf, inf], np.nan).dropna() for side in (reference, current)
    )  # as the report does
    score = get_stattest(before, now, kind, method)(before, now, kind, limit).drift_score
    return _judged(reference[name], current[name], float(score), limit, method)


def _judged(
    reference: pd.Series, current: pd.Series, score: float, limit: float, method: str
) -> ColumnDrift:
    return ColumnDrift(
        score=score, limit=limit, drifted=score >= limit, method=method,
        missing_reference=float(reference.isna().mean()),
        missing_current=float(current.isna().mean()),
    )  # fmt: skip
