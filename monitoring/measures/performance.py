"""Performance of the served predictions: late labels, coverage, metrics and estimated cost."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features.validated_cases import add_labels
from monitoring.measures import scores

ESTIMATION_WINDOW = timedelta(days=7)  # a week: the cases of one day share that day's conditions


def join_labels(
    log: pd.DataFrame, labels: pd.DataFrame, as_of: datetime, *, horizon: timedelta
) -> pd.DataFrame:
    """Return a row per predicted case, with the label that counts before `as_of`, or NaN.

    `log` is the result of `serving.prediction_log.reader.read_predictions`; `labels` has `key`,
    `label` and `known_at` (UTC). A case predicted more than once counts with its first prediction,
    which people acted on. Of several labels the newest one counts. As in a training, a label known
    exactly at `as_of` is left out: what becomes known at midnight is in the next batch.
    """
    first = log.sort_values("logged_at", kind="stable").drop_duplicates("key")
    return add_labels(first, labels, horizon, as_of)


def median_label_delay_hours(joined: pd.DataFrame) -> float | None:
    """Return the median hours from decision to label; None if no label is known."""
    known = joined[joined["label"].notna()]
    hours = (known["known_at"] - known["decision_time"]) / timedelta(hours=1)
    return float(hours.median()) if len(hours) else None


def label_coverage(joined: pd.DataFrame) -> float:
    """Return the share of predictions whose label is known; 0 without predictions."""
    return float(joined["label"].notna().mean()) if len(joined) else 0.0


def labels_due_before(params: dict[str, Any], as_of: datetime) -> pd.Timestamp:
    """Return the moment: labels of all decisions before it are due.

    Batches of labels are whole days, so it counts from the start of the day of `as_of`.
    """
    return pd.Timestamp(as_of).floor("D") - timedelta(hours=params["monitoring"]["label_hours"])


def count_new_labels(labels: pd.DataFrame, since: datetime, as_of: datetime) -> int:
    """Count the cases whose label became known, or was restated, from `since` to before `as_of`."""
    known = labels["known_at"].between(since, as_of, inclusive="left")
    return int(labels.loc[known, "key"].nunique())


def due_label_coverage(
    joined: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> float | None:
    """Return the label coverage of predictions whose label is due; None if there is none yet."""
    due = joined[joined["decision_time"] < labels_due_before(params, as_of)]
    return label_coverage(due) if len(due) else None


def describe_missing_labels(
    joined: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> str | None:
    """Return a message if too few of the due labels are known, else None.

    Fewer than `min_labelled` due labels are not judged: they do not show whether a feed stopped.
    """
    n_due = int((joined["decision_time"] < labels_due_before(params, as_of)).sum())
    share, least = due_label_coverage(joined, params, as_of), params["monitoring"]["min_coverage"]
    if share is None or share >= least or n_due < params["monitoring"]["policy"]["min_labelled"]:
        return None
    return (
        f"labels are missing ({share:.0%} of {n_due:,} due labels are known, at least "
        f"{least:.0%} should be). Run `mlops ingest` and check what validation refused"
    )


def live_metrics(joined: pd.DataFrame, costs: dict[str, float], seed: int) -> dict[str, float]:
    """Return the metrics of the labelled predictions, with coverage and 90% intervals over days.

    Raises `ValueError` if fewer than two labels are known, or all are equal.
    """
    known = joined[joined["label"].notna()]
    if known["label"].nunique() < 2:
        raise ValueError(
            f"{len(known):,} of {len(joined):,} predictions have a label; metrics need labels of "
            "both values"
        )
    y, p = known["label"].to_numpy(dtype="float64"), known["probability"].to_numpy()
    days = known["decision_time"].dt.floor("D")
    case_costs = scores.case_costs(y, p, costs)
    # The saving is against the better of the two constant answers, which need no model.
    constant = scores.constant_costs(y, costs)
    cost_without = float(constant.mean())
    saved = (constant - case_costs) / cost_without
    return {
        **scores.metrics(y, p, costs),
        "mean_prediction": float(p.mean()), "coverage": label_coverage(joined),
        "cost_without": 1000 * cost_without,
        "bias": float(np.mean(p - y)), "saving": float(saved.mean()),
        **day_interval("cost", 1000 * case_costs, days, seed),
        **day_interval("bias", p - y, days, seed), **day_interval("saving", saved, days, seed),
    }  # fmt: skip


def day_interval(name: str, values: scores.Floats, days: pd.Series, seed: int) -> dict[str, float]:
    """Return `<name>_low` and `<name>_high`: the 90% interval of the mean, over days."""
    low, high = scores.day_bootstrap(values, days, seed)
    return {f"{name}_low": low, f"{name}_high": high}


def estimated_cost(joined: pd.DataFrame, costs: dict[str, float], as_of: datetime) -> float | None:
    """Return the last week's cost per 1,000 by the probabilities; None without any decision.

    It needs no label, so it is available a day before the cost. It is as right as the
    probabilities: confidence-based performance estimation (docs/decisions/13).
    """
    last_week = joined[joined["decision_time"] >= as_of - ESTIMATION_WINDOW]
    if last_week.empty:
        return None
    return float(1000 * scores.expected_costs(last_week["probability"], costs).mean())


def daily_performance(joined: pd.DataFrame, costs: dict[str, float]) -> pd.DataFrame:
    """Return `n`, `cost_per_1000`, `mean_prediction` and `base_rate` per day (UTC) of decision."""
    known = joined[joined["label"].notna()]
    frame = known.assign(
        day=known["decision_time"].dt.floor("D"),
        cost=1000 * scores.case_costs(known["label"], known["probability"], costs),
    )
    return frame.groupby("day", as_index=False).agg(
        n=("label", "size"), cost_per_1000=("cost", "mean"),
        mean_prediction=("probability", "mean"), base_rate=("label", "mean"),
    )  # fmt: skip
