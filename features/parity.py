"""Compare the online store with the offline store, value by value, for the same moment."""

from __future__ import annotations

import numpy as np
import pandas as pd

import settings as configuration
from features.online_reader import OnlineReader
from features.point_in_time import training_frame
from features.publication_record import published_until
from settings import LoopError
from usecase.columns import CATEGORIES, FEATURES, NUMBERS


def online_and_offline_rows(
    settings: configuration.Settings, cases: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the model's columns of `cases` (of the spine), online and offline.

    All cases are decided at the time of the newest publication, since the online store holds only
    the newest values. If a publication happens meanwhile, read both again. Raise `LoopError` if
    nothing was ever published, or publications never pause.
    """
    for _ in range(5):
        published = published_until(settings)
        if published is None:
            raise LoopError("Nothing is published online. Run `mlops features`.")
        rows = cases.assign(decision_time=pd.Timestamp(published)).reset_index(drop=True)
        offline = training_frame(settings, rows)
        online = OnlineReader(settings).read(rows.to_dict("records"), [published] * len(rows))
        if published_until(settings) == published:
            break
    else:
        raise LoopError(
            "The online store changes during every comparison. Another command is publishing. "
            "Try again when it has finished."
        )
    return pd.DataFrame([row.values for row in online])[FEATURES], offline[FEATURES]


def count_differing_rows(left: pd.DataFrame, right: pd.DataFrame) -> dict[str, int]:
    """Return the number of differing rows for each column that differs; NaN equals NaN."""
    if len(left) != len(right):
        raise ValueError(f"The frames have {len(left)} and {len(right)} rows.")
    counts = {
        name: int((left[name].to_numpy() != right[name].to_numpy()).sum()) for name in CATEGORIES
    }
    a, b = (frame[NUMBERS].to_numpy(dtype="float64") for frame in (left, right))
    unequal = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    counts |= dict(zip(NUMBERS, map(int, unequal.sum(axis=0)), strict=True))
    return {name: count for name, count in counts.items() if count}
