"""Does the online store answer what the offline one does, value for value, for the same moment?"""

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
    """The model's columns of `cases` (of the spine), as if all were decided at this moment.

    The moment is that up to which the online store is published: it holds the newest values alone.
    If it moved on meanwhile, both are asked again. Raises `LoopError` if nothing was ever
    published, or the store never stands still.
    """
    for _ in range(5):
        stands = published_until(settings)
        if stands is None:
            raise LoopError("Nothing is published online: run `mlops features`.")
        asked = cases.assign(decision_time=pd.Timestamp(stands)).reset_index(drop=True)
        offline = training_frame(settings, asked)
        found = OnlineReader(settings).read(asked.to_dict("records"), [stands] * len(asked))
        if published_until(settings) == stands:
            break
    else:
        raise LoopError("The online store is published to all the time: compare when it rests.")
    return pd.DataFrame([row.values for row in found])[FEATURES], offline[FEATURES]


def count_differing_rows(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, int]:
    """In how many rows each column differs, NaN being equal to NaN; the columns that do."""
    if len(one) != len(other):
        raise ValueError(f"{len(one)} rows against {len(other)}.")
    counts = {
        name: int((one[name].to_numpy() != other[name].to_numpy()).sum()) for name in CATEGORIES
    }
    left, right = (frame[NUMBERS].to_numpy(dtype="float64") for frame in (one, other))
    unequal = ~((left == right) | (np.isnan(left) & np.isnan(right)))
    counts |= dict(zip(NUMBERS, map(int, unequal.sum(axis=0)), strict=True))
    return {name: count for name, count in counts.items() if count}
