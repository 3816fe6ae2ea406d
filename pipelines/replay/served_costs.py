"""What did the days cost that the loop's real parts lived? Its log, judged as the fast replay is.

The truth and the no-model answers are those of the replay's world, which has all labels; a case
that the service did not answer, or answered twice, is an error and no saving.
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
    """The records of the days from `first` to `end` in the home `own`, with what each cost.

    Raises `LoopError` if not every case of theirs is in the log.
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
    """`cases` with the probability that each was answered with.

    Raises `LoopError` if one is not in the log, is there twice, or was answered in need.
    """
    found = cases.merge(log[["key", "probability", "degraded"]], on="key", how="left")
    missing, twice = int(found["probability"].isna().sum()), len(found) - len(cases)
    if missing or twice:
        raise LoopError(
            f"Of {len(cases):,} cases {missing:,} are not in the log, and {twice:,} are in it "
            "twice: what they cost is not known. Remove the replay's home and run it again."
        )
    if degraded := int(found["degraded"].astype(bool).sum()):
        raise LoopError(
            f"{degraded:,} cases were answered without the online store, and what they cost is not "
            "the model's: see logs/service.log of the replay, remove its home, run it again."
        )
    return found
