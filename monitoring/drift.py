"""Do the served cases still look like those that the model was evaluated on? By Evidently.

Tests of significance flag nearly every column between any two windows of this size, so distances
are measured: Wasserstein in standard deviations of the reference for numbers, Jensen-Shannon for
categories. Evidently drops missing values before it compares, so their shares are compared here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np
import pandas as pd

from settings import LoopError

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
class Drift:
    """The distance of the current rows from the reference; `target` is None without any label."""

    share: float  # of the features, how many have drifted
    missing_change: float  # the largest change of a feature's share of missing values
    features: dict[str, ColumnDrift]
    prediction: ColumnDrift
    target: ColumnDrift | None
    n_reference: int
    n_current: int


def compare(
    reference: pd.DataFrame, current: pd.DataFrame, *, features: Sequence[str],
    categories: Sequence[str], limits: dict[str, Any], seed: int, shown: bool = True,
) -> tuple[Drift, Any]:  # fmt: skip
    """The drift of `current` and Evidently's snapshot, which `drift_report.publish` takes.

    Unless it is to be `shown` there is no snapshot: that measures each column four times over and
    draws it. Both frames hold `features`, `probability` and `label` (NaN where unknown); of each at
    most `limits["max_rows"]` rows are compared, drawn with `seed`. Raises `LoopError` if a column
    is absent or has no value: a feature that is served no more is the worst drift there is, and no
    distance shows it.
    """
    for frame, what in ((reference, "the champion's reference"), (current, "the prediction log")):
        require(frame, [*features, PREDICTION], what)
    columns = [*features, PREDICTION]
    if current[TARGET].notna().any():
        columns.append(TARGET)
    texts = [*categories, TARGET]
    drawn = [_drawn(frame, columns, texts, limits["max_rows"], seed) for frame in
             (reference, current)]  # fmt: skip
    snapshot = None
    if shown:
        snapshot = _snapshot(*drawn, features=features, texts=texts, limits=limits)
        found = _columns(snapshot, *drawn)
    else:
        found = {name: _column(name, *drawn, texts=texts, limits=limits) for name in columns}
    if unscored := [name for name in columns if not isfinite(found[name].score)]:
        raise LoopError(f"Evidently gave no score for {_listed(unscored)}.")
    ours = {name: found[name] for name in features}
    return Drift(
        share=sum(column.drifted for column in ours.values()) / len(ours),
        missing_change=max(
            abs(column.missing_current - column.missing_reference) for column in ours.values()
        ),
        features=ours,
        prediction=found[PREDICTION],
        target=found.get(TARGET),
        n_reference=len(drawn[0]),
        n_current=len(drawn[1]),
    ), snapshot


@contextmanager
def evidently() -> Iterator[None]:
    """Evidently's import warns of what its own dependencies call deprecated: not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def require(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raises `LoopError` if a column is absent from `frame`, or has not one value."""
    if frame.empty:
        raise LoopError(f"There is no row in {what}: nothing to compare.")
    absent = [name for name in columns if name not in frame]
    empty = [name for name in columns if name in frame and frame[name].isna().all()]
    told = [f"lacks {_listed(absent)}"] if absent else []
    told += [f"has not one value of {_listed(empty)} in {len(frame):,} rows"] if empty else []
    if told:
        raise LoopError(
            f"Drift can't be measured: {what} {' and '.join(told)}. Look at the feature tables "
            "and at what was published online before you trust these predictions."
        )


def _drawn(
    frame: pd.DataFrame, columns: list[str], texts: Sequence[str], n_rows: int, seed: int
) -> pd.DataFrame:
    drawn = frame[columns] if len(frame) <= n_rows else frame.sample(n_rows, random_state=seed)
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
    with evidently():
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
    with evidently():
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


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
