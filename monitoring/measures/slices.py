"""Cost, calibration and missing labels of each slice.

The average hides problems of slices: biases of opposite sign cancel out, and the missing labels of
a small slice barely lower the coverage.
"""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from contract import UseCase
from monitoring.measures import performance, scores

NO_VALUE = ("nan", "None", "NaT", "<NA>")  # missing values as pandas turns them into text
MEASURES = (
    "base_rate", "cost_per_1000", "cost_low", "cost_high", "bias", "bias_low", "bias_high", "shown",
)  # fmt: skip


def measure_slices(
    use_case: UseCase, joined: pd.DataFrame, features: pd.DataFrame, params: dict[str, Any],
    as_of: datetime,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row per slice of the use case: cases, cost and bias with 90% intervals over days.

    `features` are the served model columns, in the rows of `joined`; `params` are all parameters.
    `enough`: whether there are enough labelled cases to judge. `shown`: distance of the bias's
    interval from zero. `due`: cases of the newest day whose labels are all due. `missing`: the
    share of those labels that is not known. Kinds of slices whose feature has no value are left
    out; `describe_empty_slices` names them.
    """
    end = performance.labels_due_before(params, as_of)
    newest_due = joined["decision_time"].between(end - timedelta(days=1), end, inclusive="left")
    due = newest_due.to_numpy()
    measured = joined[["decision_time", "label", "probability"]]  # copies no features per slice
    rows = []
    for kind, values in use_case.slices(features).items():
        if _is_empty(values):
            continue
        for value, at in joined.groupby(values.to_numpy()).indices.items():
            cases = measured.iloc[at]
            missing = cases["label"].isna().to_numpy()[due[at]]
            rows.append({
                "slice": kind, "value": str(value), **_slice_metrics(cases, params),
                "due": len(missing), "missing": float(missing.mean()) if len(missing) else 0.0,
            })  # fmt: skip
    return rows


def describe_empty_slices(use_case: UseCase, features: pd.DataFrame) -> str | None:
    """Return a message with the kinds of slices whose feature has no value, or None."""
    empty = [kind for kind, values in use_case.slices(features).items() if _is_empty(values)]
    return f"slices by {', '.join(empty)} (no value in the log)" if empty else None


def _is_empty(values: pd.Series) -> bool:
    # A use case returns its slices as text, so a missing value is text, too.
    return len(values) > 0 and bool(values.isna().all() or values.astype(str).isin(NO_VALUE).all())


def _slice_metrics(cases: pd.DataFrame, params: dict[str, Any]) -> dict[str, Any]:
    known = cases[cases["label"].notna()]
    if known.empty:
        return {"n": 0, "enough": False, **dict.fromkeys(MEASURES)}
    y, p = known["label"].to_numpy(dtype="float64"), known["probability"].to_numpy()
    costs = 1000 * scores.case_costs(y, p, params["costs"])
    days, seed = known["decision_time"].dt.floor("D"), params["seed"]
    bias = performance.day_interval("bias", p - y, days, seed)
    return {
        "n": len(known), "enough": len(known) >= params["monitoring"]["min_slice"],
        "base_rate": float(y.mean()), "cost_per_1000": float(costs.mean()),
        **performance.day_interval("cost", costs, days, seed),
        "bias": float(np.mean(p - y)), **bias,
        "shown": max(bias["bias_low"], -bias["bias_high"], 0.0),
    }  # fmt: skip
