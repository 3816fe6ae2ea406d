"""What monitoring reads of production: logged predictions with labels, new labels, trainings."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features import partitions
from monitoring.measures import performance
from pipelines.training import training_outcome
from serving.prediction_log import reader, reported_outcomes
from settings import LoopError, Settings


def read_labelled_predictions(
    settings: Settings, as_of: datetime, params: dict[str, Any], champion: str
) -> pd.DataFrame:
    """Return the champion's predictions in the window before `as_of`, with labels known by then.

    The window is one of decision times, because a replay logs at other times than it decides.
    Raise `LoopError` if there are no predictions or no validated labels.
    """
    from usecase.target import LABEL_FEED, labels

    since = as_of - timedelta(days=params["monitoring"]["window_days"])
    log = reader.read_predictions(settings.predictions, since=since, until=as_of)
    log = log[log["model_version"] == champion]
    if log.empty:
        raise LoopError(
            f"No prediction by version {champion} from {since:%Y-%m-%d} to {as_of:%Y-%m-%d} is in "
            "the log. Send requests to the service (`mlops serve`), or run `mlops run`."
        )
    known = partitions.read_days(settings.data, "validated", LABEL_FEED, since.date(), as_of.date())
    if known.empty:
        raise LoopError(
            f"There are no validated {LABEL_FEED} since {since:%Y-%m-%d}. Run `mlops ingest`."
        )
    truth = labels(known)
    reported = reported_outcomes.reported_labels(settings.predictions)  # sent to the service
    if len(reported):
        truth = pd.concat([truth, reported], ignore_index=True)
    return performance.join_labels(log, truth, as_of)


def logged_features(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the logged features of each prediction under the model's names; NaN if not logged."""
    from usecase.columns import FEATURES

    names = {f"features.{name}": name for name in FEATURES if f"features.{name}" in predictions}
    features = predictions[list(names)].rename(columns=names).reindex(columns=FEATURES)
    # A column of None only has no type. With NaN it is measured like any other empty column.
    empty = [name for name in FEATURES if features[name].isna().all()]
    return features.assign(**dict.fromkeys(empty, np.nan))


def count_new_labels(settings: Settings, since: datetime, as_of: datetime) -> int:
    """Count the cases whose label became known, or was restated, from `since` to before `as_of`."""
    from usecase.statements import newest
    from usecase.target import LABEL_FEED, labels

    known = partitions.read_days(settings.data, "validated", LABEL_FEED, since.date(), as_of.date())
    if known.empty:
        return 0
    truth = newest(labels(known), ["key"], before=as_of)
    return int((truth["known_at"] >= since).sum())


def last_training_time(settings: Settings, as_of: datetime) -> datetime | None:
    """Return the `as_of` of the newest training before `as_of`, with any outcome."""
    times = [
        datetime.fromisoformat(each["as_of"]) for each in training_outcome.list_outcomes(settings)
    ]
    return max((time for time in times if time < as_of), default=None)
