"""Cost, calibration and missing labels of each slice, as far as its labels are known.

The whole hides both: what is too high in one slice and too low in another is right on average, and
the labels of a small slice may be missing for weeks before their share shows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from monitoring.measures import performance
from monitoring.retraining_triggers import MonitoringFinding
from usecase import evaluation

DAY = timedelta(days=1)
NO_VALUE = ("nan", "None", "NaT", "<NA>")  # what pandas makes of a missing value as text
MEASURES = (
    "base_rate", "cost_per_1000", "cost_low", "cost_high", "bias", "bias_low", "bias_high", "shown",
)  # fmt: skip


def measure_slices(
    joined: pd.DataFrame, features: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> list[dict[str, Any]]:
    """A row per slice of the use case: cases, cost and bias with 90% intervals over days, labels.

    `features` are the served model columns, row by row those of `joined`; `params` are all
    parameters. `enough` says whether its labelled cases can be judged, `shown` how far from zero
    the interval of the bias lies. `due` counts the newest day's cases whose labels should be in,
    `missing` is the share of them that is not. Slices of a kind whose feature has no value are left
    out; `slice_problems` names them.
    """
    due = due_on_newest_day(joined, params, as_of).to_numpy()
    measured = joined[["decision_time", "label", "probability"]]  # not all features, for each slice
    rows = []
    for kind, values in evaluation.slices(features).items():
        if _is_empty(values):
            continue
        for value, at in joined.groupby(values.to_numpy()).indices.items():
            asked = measured.iloc[at]
            late = asked["label"].isna().to_numpy()[due[at]]
            rows.append({
                "slice": kind, "value": str(value), **_judged(asked, params),
                "due": len(late), "missing": float(late.mean()) if len(late) else 0.0,
            })  # fmt: skip
    return rows


def slice_problems(features: pd.DataFrame) -> list[MonitoringFinding]:
    """A problem that names the kinds of slices whose feature has no value; none if all have."""
    empty = [kind for kind, values in evaluation.slices(features).items() if _is_empty(values)]
    if not empty:
        return []
    return [
        MonitoringFinding(
            "slices_unmeasured", f"slices by {', '.join(empty)} (no value in the log)"
        )
    ]


def _is_empty(values: pd.Series) -> bool:
    # A use case gives its slices as text, a missing value among them.
    return len(values) > 0 and bool(values.isna().all() or values.astype(str).isin(NO_VALUE).all())


def due_on_newest_day(
    joined: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> pd.Series[bool]:
    """Which predictions are of the newest day of decisions whose labels should all be in."""
    end = performance.labels_due_before(params, as_of)
    return (joined["decision_time"] >= end - DAY) & (joined["decision_time"] < end)


def _judged(asked: pd.DataFrame, params: dict[str, Any]) -> dict[str, Any]:
    known = asked[asked["label"].notna()]
    if known.empty:
        return {"n": 0, "enough": False, **dict.fromkeys(MEASURES)}
    y, p = known["label"].to_numpy(dtype="float64"), known["probability"].to_numpy()
    costs = 1000 * evaluation.case_costs(y, p, params["costs"])
    days = known["decision_time"].dt.floor("D")
    cost_low, cost_high = evaluation.day_bootstrap(costs, days, params["seed"])
    low, high = evaluation.day_bootstrap(p - y, days, params["seed"])
    return {
        "n": len(known), "enough": len(known) >= params["monitoring"]["min_slice"],
        "base_rate": float(y.mean()),
        "cost_per_1000": float(costs.mean()), "cost_low": cost_low, "cost_high": cost_high,
        "bias": float(np.mean(p - y)), "bias_low": low, "bias_high": high,
        "shown": max(low, -high, 0.0),
    }  # fmt: skip
