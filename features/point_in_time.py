"""The point-in-time join: each training case with the features visible at its decision time."""

import pandas as pd

import settings as configuration
from features.feast_store import LOOKUP, apply_definitions


def training_frame(settings: configuration.Settings, spine: pd.DataFrame) -> pd.DataFrame:
    """Join the features to `spine` (n_cases rows); return one row per case, in its order.

    Return `key`, `decision_time` and the model's columns: numbers as float64, NaN where
    unknown. A row of a feature table is used only if its event and its publication (`created`) are
    both at or before the decision time.

    As online, this looks up the stored features first, then applies the on-demand view to them by
    the same function. Feast's own application to a history converts every column to Python objects
    and takes three times as long as the join.
    """
    store = apply_definitions(settings)
    joined = store.get_historical_features(
        entity_df=spine.rename(columns={"decision_time": "event_timestamp"}),
        features=store.get_feature_service(LOOKUP),
        filter_by_created_timestamp=True,
    ).to_df()
    times, computed = joined["event_timestamp"].astype("datetime64[us, UTC]"), {}
    use_case = settings.use_case
    if (on_demand := use_case.views().on_demand) is not None:
        stored = {name: joined[name].tolist() for name in joined.columns}
        computed = on_demand.feature_transformation.udf(stored)
    frame = joined.assign(decision_time=times, **computed)
    frame = frame[["key", "decision_time", *use_case.features]]
    types = dict.fromkeys(use_case.numbers, "float64") | dict.fromkeys(
        use_case.categories, "object"
    )
    return frame.astype(types)
