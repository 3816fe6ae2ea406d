"""What did the days cost that the loop's real parts lived? Its log, judged as the fast replay is.

The truth and the no-model answers are those of the replay's world, which has all labels; a case
that the service did not answer, or answered twice, is an error and no saving.
"""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from pipelines import replay_record, replay_world
from serving import prediction_log
from settings import LoopError, Settings
from usecase import evaluation


def days(settings: Settings, own: Settings, first: datetime, end: datetime) -> pd.DataFrame:
    """The records of the days from `first` to `end` in the home `own`, with what each cost.

    Raises `LoopError` if not every case of theirs is in the log.
    """
    records = pd.DataFrame(replay_record.kept(own)[: (end - first).days])
    world = replay_world.world(settings, first, end)
    at = world.rows(first, end)
    log = prediction_log.read(own.predictions, since=first, until=end)
    cases = world.frame.iloc[at][["key", "decision_time", "label"]].merge(
        log[["key", "probability"]], on="key", how="left"
    )
    unanswered = int(cases["probability"].isna().sum())
    if unanswered or len(cases) != at.stop - at.start:
        raise LoopError(
            f"Of {at.stop - at.start:,} cases {unanswered:,} are not in the log of {own.home}, "
            f"and {len(cases) - at.stop + at.start:,} are in it twice: what they cost is not known."
        )
    if log["degraded"].any():
        raise LoopError(
            f"{int(log['degraded'].sum()):,} cases were answered without the online store: see "
            f"{own.var / 'logs' / 'service.log'}. What they cost is not the model's."
        )
    costs = world.params["costs"]
    return records.drop(columns="n").merge(
        pd.DataFrame({
            "day": cases["decision_time"].dt.strftime("%Y-%m-%d"), "n": 1,
            "cost": evaluation.case_costs(cases["label"], cases["probability"], costs),
            "baseline_cost": evaluation.case_costs(cases["label"], world.baseline[at], costs),
        }).groupby("day", as_index=False).sum(),
        on="day", validate="1:1",
    )  # fmt: skip
