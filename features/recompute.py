"""Recompute features without any row known after the decision, for the gate against leaks."""

from __future__ import annotations

import contextlib
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd

import settings as configuration
from features import partitions
from features.point_in_time import training_frame
from features.table_builder import Tables, late_publications, publication_times
from usecase.feature_views import TABLES, VIEWS, Read

DAY = timedelta(days=1)


def recompute_without_future(
    settings: configuration.Settings, cases: pd.DataFrame, moment: datetime, tables: Tables = TABLES
) -> pd.DataFrame:
    """Return `training_frame` of `cases` (of the spine, decided at `moment`) without later rows.

    Delete every validated row known after `moment`, build the tables from the rest with the use
    case's code, and join them as for a training. `settings` are those of the workspace with the
    validated batches.
    """
    params = settings.params()
    lag = timedelta(seconds=params["features"]["publish_lag_seconds"])
    first, until = date.fromisoformat(str(params["first_day"])), moment.date()
    late = late_publications(settings.data)
    # The join changes to the temporary folder: change back before that folder is removed.
    with tempfile.TemporaryDirectory(prefix="recomputed-") as folder, contextlib.chdir("."):
        for view in VIEWS:
            start = max(first, until - DAY - view.ttl) if view.ttl else first
            rows = tables[view.name][0](_reader_until(settings.data, moment), start, until)
            rows = rows.drop(columns="day")
            rows["created"] = publication_times(rows["event_timestamp"], lag, late)
            data = Path(folder) / "data"
            target = partitions.partition_path(data, "features", view.name, until)
            partitions.write_partition(rows, target)
        own = {**settings.model_dump(), "workspace": Path(folder)}
        return training_frame(configuration.Settings(**own), cases)


def _reader_until(data: Path, moment: datetime) -> Read:
    """Return a reader of the validated rows known by `moment`."""

    def read(feed: str, first: date, last: date) -> pd.DataFrame:
        rows = partitions.read_days(data, "validated", feed, first, last)
        return rows if rows.empty else rows[rows["known_at"] <= moment].reset_index(drop=True)

    return read
