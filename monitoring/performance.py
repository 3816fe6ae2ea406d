"""How well the served predictions turned out, as far as their labels are known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from usecase import evaluation


def join_labels(log: pd.DataFrame, labels: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """The predictions (a row per case) with the labels known before `as_of`; NaN where none is.

    `log` is what `serving.prediction_log.read` gives, `labels` has `key`, `label` and `known_at`
    (UTC). A case that was asked about more than once counts once, with its first answer: that is
    the one that was acted on. Of several labels of a case the newest known by then counts. Before
    and not at, as in a training: what becomes known at midnight is in a batch that is yet to come.
    """
    first = log.sort_values("logged_at", kind="stable").drop_duplicates("key")
    known = labels[labels["known_at"] < as_of].sort_values("known_at", kind="stable")
    known = known.drop_duplicates("key", keep="last")
    return first.merge(known[["key", "label", "known_at"]], on="key", how="left")


def delay_hours(joined: pd.DataFrame) -> float | None:
    """From decision to label, in the median of those known; None if none is."""
    known = joined[joined["label"].notna()]
    hours = (known["known_at"] - known["decision_time"]) / timedelta(hours=1)
    return float(hours.median()) if len(hours) else None


def coverage(joined: pd.DataFrame) -> float:
    """The share of predictions whose label is known; what is not known is not counted as good."""
    return float(joined["label"].notna().mean()) if len(joined) else 0.0


def live_metrics(joined: pd.DataFrame, costs: dict[str, float], seed: int) -> dict[str, float]:
    """Metrics over the labelled predictions, with coverage and 90% intervals over days.

    Raises `ValueError` if fewer than two labels are known, or all are the same.
    """
    known = joined[joined["label"].notna()]
    if known["label"].nunique() < 2:
        raise ValueError(
            f"{len(known):,} of {len(joined):,} predictions have a label, and no metric can be "
            "had of labels that are all the same"
        )
    y, p = known["label"].to_numpy(dtype="float64"), known["probability"].to_numpy()
    days = known["decision_time"].dt.floor("D")
    cost_low, cost_high = evaluation.day_bootstrap(
        1000 * evaluation.case_costs(y, p, costs), days, seed
    )
    gap_low, gap_high = evaluation.day_bootstrap(p - y, days, seed)
    return {
        **evaluation.metrics(y, p, costs),
        "mean_prediction": float(p.mean()),
        "coverage": coverage(joined),
        "cost_low": cost_low, "cost_high": cost_high,
        "bias": float(np.mean(p - y)), "bias_low": gap_low, "bias_high": gap_high,
    }  # fmt: skip


def by_day(joined: pd.DataFrame, costs: dict[str, float]) -> pd.DataFrame:
    """A row per day (UTC) of decision: `n`, `cost_per_1000`, `mean_prediction`, `base_rate`."""
    known = joined[joined["label"].notna()]
    rows = [
        {
            "day": day, "n": len(part),
            "cost_per_1000": evaluation.cost_per_1000(part["label"], part["probability"], costs),
            "mean_prediction": float(part["probability"].mean()),
            "base_rate": float(part["label"].mean()),
        }
        for day, part in known.groupby(known["decision_time"].dt.floor("D"))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def by_slice(
    joined: pd.DataFrame, features: pd.DataFrame, costs: dict[str, float], min_rows: int
) -> list[dict[str, Any]]:
    """For each slice of the use case: cases, cost, bias, and whether there are enough of them.

    `features` are the served model columns, row by row those of `joined`.
    """
    known = joined["label"].notna().to_numpy()
    rows = []
    for kind, values in evaluation.slices(features).items():
        for value, part in joined[known].groupby(values.to_numpy()[known]):
            y, p = part["label"].to_numpy(dtype="float64"), part["probability"].to_numpy()
            rows.append(
                {
                    "slice": kind, "value": str(value), "n": len(part),
                    "enough": len(part) >= min_rows,
                    "cost_per_1000": evaluation.cost_per_1000(y, p, costs),
                    "bias": float(np.mean(p - y)), "base_rate": float(y.mean()),
                }
            )  # fmt: skip
    return rows
