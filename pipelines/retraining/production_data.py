"""What monitoring reads of production: logged predictions with labels, and earlier trainings."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features.validated_cases import read_labels
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
    since = as_of - timedelta(days=params["monitoring"]["window_days"])
    log = reader.read_predictions(settings.predictions, since=since, until=as_of)
    log = log[log["model_version"] == champion]
    if log.empty:
        raise LoopError(
            f"No prediction by version {champion} from {since:%Y-%m-%d} to {as_of:%Y-%m-%d} is in "
            "the log. Send requests to the service (`mlops serve`), or run `mlops run`."
        )
    truth = read_labels(settings.data, since.date(), as_of.date())
    if truth.empty:
        raise LoopError(
            f"There are no validated labels since {since:%Y-%m-%d}. Run `mlops ingest`."
        )
    reported = reported_outcomes.reported_labels(settings.predictions)  # sent to the service
    if len(reported):
        truth = pd.concat([truth, reported], ignore_index=True)
    return performance.join_labels(log, truth, as_of)


def logged_features(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the logged features of each prediction under the model's names; NaN if not logged."""
    from usecase.columns import FEATURES

    features = predictions.reindex(columns=[f"features.{name}" for name in FEATURES])
    features.columns = pd.Index(FEATURES)
    # A column of None only has no type. With NaN it is measured like any other empty column.
    empty = [name for name in FEATURES if features[name].isna().all()]
    return features.assign(**dict.fromkeys(empty, np.nan))


def last_training_time(settings: Settings, as_of: datetime) -> datetime | None:
    """Return the `as_of` of the newest training before `as_of`, with any outcome."""
    outcomes = training_outcome.list_outcomes(settings)
    times = [datetime.fromisoformat(each["as_of"]) for each in outcomes]
    return max((time for time in times if time < as_of), default=None)
