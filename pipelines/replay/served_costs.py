"""Costs of a served replay's days, computed from its prediction log as in the fast replay.

Labels and the no-model baseline come from the replay's world, which has all labels. A case that the
service did not predict, or predicted twice, is an error.
"""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from pipelines.replay import served_record, world_data
from serving.prediction_log import reader
from settings import LoopError, Settings
from usecase import evaluation


def read_days_with_costs(
    settings: Settings, own: Settings, first: datetime, end: datetime
) -> pd.DataFrame:
    """Return the records of the days from `first` to `end` in the home `own`, with their costs.

    Raises `LoopError` if a case is not in the log exactly once.
    """
    records = pd.DataFrame(served_record.read_day_records(own)[: (end - first).days])
    world = world_data.build_world(settings, first, end)
    at = world.rows(first, end)
    log = reader.read_predictions(own.predictions, since=first, until=end)
    cases = match_answers(world.frame.iloc[at][["key", "decision_time", "label"]], log)
    costs = world.params["costs"]
    return records.drop(columns="n").merge(
        pd.DataFrame({
            "day": cases["decision_time"].dt.strftime("%Y-%m-%d"), "n": 1,
            "cost": evaluation.case_costs(cases["label"], cases["probability"], costs),
            "baseline_cost": evaluation.case_costs(cases["label"], world.baseline[at], costs),
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
