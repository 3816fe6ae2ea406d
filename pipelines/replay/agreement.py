"""Comparison of a policy's two replays, served and fast: the days on which they differ."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipelines.evaluation.gates.verdict import verdict_code

# Decisions and models; the texts of rollout steps may differ in wording.
DECISION_COLUMNS = (
    "n", "trained", "released", "withdrawn", "champion", "challenger", "stage", "retrain", "fired",
    "codes",
)  # fmt: skip
VALUE_COLUMNS = {"drift": 1e-3, "measured": 1e-6}  # values by name, with their tolerance
NUMERIC_COLUMNS = ("cost", "baseline_cost", "gap", "bias", "coverage", "drift_share", "delay_hours")


def differing_days(served: pd.DataFrame, fast: pd.DataFrame) -> dict[str, list[str]]:
    """Return the days on which the replays differ, by column, or by `gates` for refusals.

    Both frames hold a row per day, of the same days. Columns that `served` lacks are not compared:
    costs are added later (`served_costs.read_days_with_costs`).
    """
    days = served["day"]
    if list(days) != list(fast["day"]):
        raise ValueError("The replays are not of the same days.")
    differs = {
        name: ~_equal(served[name], fast[name])
        for name in DECISION_COLUMNS
        if name in served and name in fast  # a replay of an older version has no codes
    }
    differs |= {
        name: ~_close(served[name], fast[name]) for name in NUMERIC_COLUMNS if name in served
    }
    # Records round the drift to three digits.
    differs |= {
        name: ~_equal_values(served[name], fast[name], tolerance)
        for name, tolerance in VALUE_COLUMNS.items()
        if name in served and name in fast
    }
    differs["gates"] = ~_equal(served["verdicts"].map(_refusals), fast["verdicts"].map(_refusals))
    return {name: days[each].tolist() for name, each in differs.items() if each.any()}


def format_agreement(served: pd.DataFrame, fast: pd.DataFrame) -> str:
    """Return the number of days on which the replays differ, and the columns."""
    differs = differing_days(served, fast)
    days = {day for each in differs.values() for day in each}
    return f"{len(days)} of {len(served)}" + (f": {', '.join(differs)}" if differs else "")


def _equal(served: pd.Series, fast: pd.Series) -> pd.Series:
    left, right = (each.astype(object).where(each.notna(), None) for each in (served, fast))
    return pd.Series([a == b for a, b in zip(left, right, strict=True)], index=served.index)


def _close(served: pd.Series, fast: pd.Series) -> pd.Series:
    left, right = served.astype("float64"), fast.astype("float64")
    return ((left - right).abs() <= 1e-9) | (left.isna() & right.isna())


def _equal_values(served: pd.Series, fast: pd.Series, tolerance: float) -> pd.Series:
    """Compare values by name: the drift of each feature, or what each trigger measured."""

    def equal(left: Any, right: Any) -> bool:
        if not (isinstance(left, dict) and isinstance(right, dict)):
            return isinstance(left, dict) == isinstance(right, dict)
        return left.keys() == right.keys() and all(
            left[name] == right[name]
            if None in (left[name], right[name])
            else abs(left[name] - right[name]) <= tolerance
            for name in left
        )

    return pd.Series([equal(a, b) for a, b in zip(served, fast, strict=True)], index=served.index)


def _refusals(verdicts: list[dict[str, Any]]) -> list[str]:
    return [verdict_code(each) for each in verdicts if not each["passed"]]
