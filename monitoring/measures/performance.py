"""How well the served predictions turned out, as far as their labels are known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from usecase import evaluation
from usecase.statements import newest

ESTIMATION_WINDOW = timedelta(days=7)  # what rules one day rules all of its decisions


def join_labels(log: pd.DataFrame, labels: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """The predictions (a row per case) with the labels known before `as_of`; NaN where none is.

    `log` is what `serving.prediction_log.reader.read_predictions` gives, `labels` has `key`,
    `label` and
    `known_at`
    (UTC). A case that was asked about more than once counts once, with its first answer: that is
    the one that was acted on. Of several labels of a case the newest known by then counts. Before
    and not at, as in a training: what becomes known at midnight is in a batch that is yet to come.
    """
    first = log.sort_values("logged_at", kind="stable").drop_duplicates("key")
    known = newest(labels, ["key"], before=as_of)
    return first.merge(known[["key", "label", "known_at"]], on="key", how="left")


def median_label_delay_hours(joined: pd.DataFrame) -> float | None:
    """From decision to label, in the median of those known; None if none is."""
    known = joined[joined["label"].notna()]
    hours = (known["known_at"] - known["decision_time"]) / timedelta(hours=1)
    return float(hours.median()) if len(hours) else None


def label_coverage(joined: pd.DataFrame) -> float:
    """The share of predictions whose label is known; what is not known is not counted as good."""
    return float(joined["label"].notna().mean()) if len(joined) else 0.0


def labels_due_before(params: dict[str, Any], as_of: datetime) -> pd.Timestamp:
    """The labels of all that was decided before this moment should be in.

    Batches of labels are of whole days, so it is counted from the start of that of `as_of`.
    """
    return pd.Timestamp(as_of).floor("D") - timedelta(hours=params["monitoring"]["label_hours"])


def days_watched(joined: pd.DataFrame, as_of: datetime) -> float:
    """From the first decision to `as_of`."""
    return float((as_of - joined["decision_time"].min()) / timedelta(days=1))


def due_label_coverage(
    joined: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> float | None:
    """The same of the predictions whose label should be in; None if there is none yet."""
    due = joined[joined["decision_time"] < labels_due_before(params, as_of)]
    return label_coverage(due) if len(due) else None


def describe_missing_labels(
    joined: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> str | None:
    """What is wrong with the labels as a whole, in words; None if nothing is, or few are due.

    Whether labels are late or their feed has stopped is only to be told where there are many.
    """
    due = joined[joined["decision_time"] < labels_due_before(params, as_of)]
    share, least = label_coverage(due), params["monitoring"]["min_coverage"]
    if len(due) < params["monitoring"]["policy"]["min_labelled"] or share >= least:
        return None
    return (
        f"labels are missing ({share:.0%} of {len(due):,} predictions whose label is due have one, "
        f"at least {least:.0%} should: run `mlops ingest` and see what validation refused)"
    )


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
    # What the model is worth: against the best of the answers that need none.
    plain = evaluation.constant_costs(y, costs)
    saved = plain - evaluation.case_costs(y, p, costs)
    saved_low, saved_high = evaluation.day_bootstrap(saved, days, seed)
    usual = float(plain.mean())
    return {
        **evaluation.metrics(y, p, costs),
        "mean_prediction": float(p.mean()),
        "coverage": label_coverage(joined),
        "cost_low": cost_low, "cost_high": cost_high,
        "bias": float(np.mean(p - y)), "bias_low": gap_low, "bias_high": gap_high,
        "cost_without": 1000 * usual, "saving": float(saved.mean()) / usual,
        "saving_low": saved_low / usual, "saving_high": saved_high / usual,
    }  # fmt: skip


def estimated_cost(joined: pd.DataFrame, costs: dict[str, float], as_of: datetime) -> float | None:
    """Per 1,000 of the decisions of the last week, by their own probabilities; None without any.

    Needs no label, so it is there a day before the cost is, and is right as far as the
    probabilities are: confidence-based performance estimation (docs/decisions/13).
    """
    newest = joined[joined["decision_time"] >= as_of - ESTIMATION_WINDOW]
    if newest.empty:
        return None
    return float(1000 * evaluation.expected_costs(newest["probability"], costs).mean())


def daily_performance(joined: pd.DataFrame, costs: dict[str, float]) -> pd.DataFrame:
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
