"""Days of a served replay as those of the fast one: their costs, and the days that differ.

Labels and the no-model baseline come from the replay's world, which has all labels.
"""

import math
from datetime import datetime
from numbers import Real
from typing import Any

import pandas as pd

from monitoring.measures import scores
from pipelines.evaluation.gates.verdict import verdict_code
from pipelines.replay import replay_world, served_record
from serving.prediction_log.decisions import read_decisions
from settings import LoopError, Settings

DECISION_COLUMNS = (
    "n", "trained", "released", "withdrawn", "champion", "challenger", "stage", "retrain", "fired",
    "codes",
)  # fmt: skip
NUMERIC_COLUMNS = ("cost", "baseline_cost", "gap", "bias", "coverage", "drift_share", "delay_hours")
# By column, the largest difference of two equal numbers. Records round the drift to three digits.
# The texts of rollout steps may differ in wording.
COMPARED_COLUMNS = {
    **dict.fromkeys(DECISION_COLUMNS, 0.0), **dict.fromkeys(NUMERIC_COLUMNS, 1e-9),
    "drift": 1e-3, "measured": 1e-6,
}  # fmt: skip


def differing_days(served: pd.DataFrame, fast: pd.DataFrame) -> dict[str, list[str]]:
    """Return the days on which the replays differ, by column, or by `gates` for refusals.

    Both frames hold a row per day, of the same days. Columns that one of them lacks are not
    compared: costs are added later (`read_days_with_costs`), and older versions
    recorded less.
    """
    if list(served["day"]) != list(fast["day"]):
        raise ValueError("The replays are not of the same days.")
    compared = [name for name in COMPARED_COLUMNS if name in served and name in fast]
    left = served[compared].assign(gates=served["verdicts"].map(_refusals))
    right = fast[compared].assign(gates=fast["verdicts"].map(_refusals))
    differing = {
        name: [
            str(day)
            for day, one, other in zip(served["day"], left[name], right[name], strict=True)
            if not _same(one, other, COMPARED_COLUMNS.get(name, 0.0))
        ]
        for name in left
    }
    return {str(name): days for name, days in differing.items() if days}


def format_agreement(served: pd.DataFrame, fast: pd.DataFrame) -> str:
    """Return the number of days on which the replays differ, and the columns."""
    differs = differing_days(served, fast)
    days = {day for each in differs.values() for day in each}
    return f"{len(days)} of {len(served)}" + (f": {', '.join(differs)}" if differs else "")


def _same(one: Any, other: Any, tolerance: float) -> bool:
    """Compare two cells; None and NaN are both a missing value."""
    if _is_missing(one) or _is_missing(other):
        return _is_missing(one) and _is_missing(other)
    if isinstance(one, dict) and isinstance(other, dict):
        same = (_same(one[name], other.get(name), tolerance) for name in one)
        return one.keys() == other.keys() and all(same)
    if isinstance(one, Real) and isinstance(other, Real):
        return math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance)
    return bool(one == other)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _refusals(verdicts: list[dict[str, Any]]) -> list[str]:
    return [verdict_code(each) for each in verdicts if not each["passed"]]


def read_days_with_costs(
    settings: Settings, own: Settings, first: datetime, end: datetime
) -> pd.DataFrame:
    """Return the records of the days from `first` to `end` in the home `own`, with their costs.

    Raises `LoopError` if a case is not in the log exactly once.
    """
    records = pd.DataFrame(
        served_record.read_day_records(served_record.records_folder(own))[: (end - first).days]
    )
    world = replay_world.build_world(settings, first, end)
    at = world.rows(first, end)
    log = read_decisions(own, since=first, until=end)
    cases = match_answers(world.frame.iloc[at][["key", "decision_time", "label"]], log)
    costs = world.params["costs"]
    return records.drop(columns="n").merge(
        pd.DataFrame({
            "day": cases["decision_time"].dt.strftime("%Y-%m-%d"), "n": 1,
            "cost": scores.case_costs(cases["label"], cases["probability"], costs),
            "baseline_cost": scores.case_costs(cases["label"], world.baseline[at], costs),
        }).groupby("day", as_index=False).sum(),
        on="day", validate="1:1",
    )  # fmt: skip


def match_answers(cases: pd.DataFrame, log: pd.DataFrame) -> pd.DataFrame:
    """Return `cases` with the probability that the service predicted.

    Raises `LoopError` if a case is not in the log, is there twice, or was degraded.
    """
    matched = cases.merge(log[["key", "probability", "degraded"]], on="key", how="left")
    missing, twice = int(matched["probability"].isna().sum()), len(matched) - len(cases)
    if missing or twice:
        raise LoopError(
            f"Of {len(cases):,} cases {missing:,} are not in the log, and {twice:,} are in it "
            "twice, so their cost is unknown. Remove the replay's home and run the replay again."
        )
    if degraded := int(matched["degraded"].astype(bool).sum()):
        raise LoopError(
            f"{degraded:,} cases were predicted without the online store, so their cost is not the "
            "model's. Check logs/service.log of the replay, remove its home, and run it again."
        )
    return matched
