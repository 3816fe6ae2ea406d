"""Distances of columns, computed by Evidently: one by one, or as a report with a snapshot."""

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


def columns_of_report(
    snapshot: Any, reference: pd.DataFrame, current: pd.DataFrame
) -> dict[str, ColumnDrift]:
    """Return the drift of each column, by name, as the snapshot has it."""
    columns = {}
    for metric in snapshot.dict()["metrics"]:
        config = metric["config"]
        if "column" not in config:
            continue
        name, score, limit = config["column"], float(metric["value"]), float(config["threshold"])
        columns[name] = _column_drift(
            reference[name], current[name], score, limit, config["method"]
        )
    return columns


def measure_column(
    name: str, reference: pd.DataFrame, current: pd.DataFrame, *, categories: Sequence[str],
    limits: dict[str, Any],
) -> ColumnDrift:  # fmt: skip
    """Return the drift of one column, by the function that Evidently's report uses."""
    with quiet_evidently_imports():
        from evidently.legacy.calculations.stattests import get_stattest
    method, kind, limit = (
        (CATEGORY, "cat", limits["category"]) if name in categories
        else (NUMBER, "num", limits["prediction" if name == PREDICTION else "number"])
    )  # fmt: skip
    before, now = (
        side[name].replace([-inf, inf], np.nan).dropna() for side in (reference, current)
    )  # as the report does
    score = get_stattest(before, now, kind, method)(before, now, kind, limit).drift_score
    return _column_drift(reference[name], current[name], float(score), limit, method)


def _column_drift(
    reference: pd.Series, current: pd.Series, score: float, limit: float, method: str
) -> ColumnDrift:
    return ColumnDrift(
        score=score, limit=limit, drifted=score >= limit, method=method,
        missing_reference=float(reference.isna().mean()),
        missing_current=float(current.isna().mean()),
    )  # fmt: skip
