"""Distances of columns by the formulas of Evidently, and its report on the same columns."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import pandas as pd

NUMBER, CATEGORY = "wasserstein", "jensenshannon"
PREDICTION, TARGET = "probability", "label"


@dataclass(frozen=True)
class ColumnDrift:
    """The distance of a column from the reference, and its shares of missing values."""

    score: float
    limit: float
    drifted: bool
    method: str
    missing_reference: float
    missing_current: float


@contextmanager
def quiet_evidently_imports() -> Iterator[None]:
    """Silence the deprecation warnings that Evidently's own dependencies cause on import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def run_report(
    reference: pd.DataFrame, current: pd.DataFrame, *, features: Sequence[str],
    categories: Sequence[str], limits: dict[str, Any],
) -> Any:  # fmt: skip
    """Return Evidently's snapshot; it measures each column four times and draws it."""
    with quiet_evidently_imports():
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift
        from evidently.presets import DataDriftPreset
    # Without the declaration a target of 0 and 1 would be taken for a number.
    definition = DataDefinition(
        numerical_columns=[name for name in current if name not in categories],
        categorical_columns=[name for name in current if name in categories],
    )
    rules = {
        "drift_share": limits["share"],
        "num_method": NUMBER, "num_threshold": limits["number"],
        "cat_method": CATEGORY, "cat_threshold": limits["category"],
    }  # fmt: skip
    single = [
        ValueDrift(
            column=name,
            method=CATEGORY if name in categories else NUMBER,
            threshold=limits["category"] if name in categories else limits["prediction"],
        )
        for name in (PREDICTION, TARGET)
        if name in current
    ]
    report = Report([DataDriftPreset(columns=list(features), **rules), *single])
    with np.errstate(invalid="ignore"):  # the report also correlates columns of a single value
        return report.run(
            Dataset.from_pandas(current, data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition),
        )


def measure_column(
    name: str, reference: pd.DataFrame, current: pd.DataFrame, *, categories: Sequence[str],
    limits: dict[str, Any],
) -> ColumnDrift:  # fmt: skip
    """Return the drift of one column, by the formulas of Evidently's report."""
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import wasserstein_distance

    before, now = reference[name], current[name]
    if name in categories:
        method, limit = CATEGORY, limits["category"]
        shares = pd.concat([side.value_counts(normalize=True) for side in (before, now)], axis=1)
        score = jensenshannon(*shares.fillna(0).to_numpy().T)
    else:
        method, limit = NUMBER, limits["prediction" if name == PREDICTION else "number"]
        finite = [side.replace([-inf, inf], np.nan).dropna() for side in (before, now)]
        score = wasserstein_distance(*finite) / max(np.std(finite[0]), 0.001)
    return ColumnDrift(
        score=float(score), limit=limit, drifted=bool(score >= limit), method=method,
        missing_reference=float(before.isna().mean()),
        missing_current=float(now.isna().mean()),
    )  # fmt: skip
