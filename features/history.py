"""What training sees: for each case the features as they were visible at its decision time."""

from __future__ import annotations

import pandas as pd

import settings as configuration
from features.store import apply, service
from usecase.feature_views import CATEGORIES, FEATURES


def training_frame(settings: configuration.Settings, spine: pd.DataFrame) -> pd.DataFrame:
    """Joins the features to `spine` (n_cases rows) point in time; one row per case, in its order.

    Returns `key`, `decision_time` and the columns of `FEATURES`: numbers as float64 with NaN where
    nothing was known. A row of a feature table counts only if its event and its publication
    (`created`) both lie at or before the decision time.
    """
    store = apply(settings)
    entities = spine.rename(columns={"decision_time": "event_timestamp"})
    joined = store.get_historical_features(
        entity_df=entities, features=service(store), filter_by_created_timestamp=True
    ).to_df()
    # Rows may come back in another order: the key brings them back to the spine's.
    joined = joined.set_index("key").loc[spine["key"]].reset_index()
    joined = joined.rename(columns={"event_timestamp": "decision_time"})
    numbers = [name for name in FEATURES if name not in CATEGORIES]
    frame = joined[["key", "decision_time", *FEATURES]].astype(dict.fromkeys(numbers, "float64"))
    frame["decision_time"] = frame["decision_time"].astype("datetime64[us, UTC]")
    return frame
