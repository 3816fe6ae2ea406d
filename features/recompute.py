"""What would the features be in a world that ends at the decision? For the gate against leaks."""

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
    """The training rows of `cases` (of the spine, decided at `moment`), from what was known then.

    Every validated row that became known after `moment` is deleted, the tables are built from the
    rest by the code of the use case, and joined as for a training. Settings are of the workspace
    that holds the validated batches. Returns what `training_frame` does.
    """
    params = settings.params()
    lag = timedelta(seconds=params["features"]["publish_lag_seconds"])
    first, until = date.fromisoformat(str(params["first_day"])), moment.date()
    late = late_publications(settings.data)
    # Joining moves the process to the folder that it reads, which is about to go.
    with tempfile.TemporaryDirectory(prefix="recomputed-") as folder, contextlib.chdir("."):
        for view in VIEWS:
            start = max(first, until - DAY - view.ttl) if view.ttl else first
            rows = tables[view.name][0](_known_by(settings.data, moment), start, until)
            rows = rows.drop(columns="day")
            rows["created"] = publication_times(rows["event_timestamp"], lag, late)
            partitions.write_partition(
                rows, partitions.partition_path(Path(folder) / "data", "features", view.name, until)
            )
        own = {**settings.model_dump(), "workspace": Path(folder)}
        return training_frame(configuration.Settings(**own), cases)


def _known_by(data: Path, moment: datetime) -> Read:
    def read(feed: str, first: date, last: date) -> pd.DataFrame:
        rows = partitions.read_days(data, "validated", feed, first, last)
        return rows if rows.empty else rows[rows["known_at"] <= moment].reset_index(drop=True)

    return read
