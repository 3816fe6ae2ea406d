"""Two checks against skew: features without later rows, and online against offline values."""

import contextlib
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd

import settings as configuration
from contract import Tables, UseCase
from features import partitions
from features.online_reader import OnlineReader
from features.point_in_time import training_frame
from features.publication_record import published_until
from features.table_builder import late_publications, publication_times

DAY = timedelta(days=1)


def recompute_without_future(
    settings: configuration.Settings, cases: pd.DataFrame, moment: datetime,
    tables: Tables | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Return `training_frame` of `cases` (of the spine, decided at `moment`) without later rows.

    Delete every validated row known after `moment`, build the tables from the rest with the use
    case's code, and join them as for a training. `settings` are those of the workspace with the
    validated batches.
    """
    params, use_case = settings.params(), settings.use_case
    tables = use_case.tables() if tables is None else tables
    lag = timedelta(seconds=params["features"]["publish_lag_seconds"])
    first, until = date.fromisoformat(str(params["first_day"])), moment.date()
    late = late_publications(settings.data)

    def read_known(feed: str, first: date, last: date) -> pd.DataFrame:
        rows = partitions.read_days(settings.data, "validated", feed, first, last)
        return rows if rows.empty else rows[rows["known_at"] <= moment].reset_index(drop=True)

    # The join changes to the temporary folder: change back before that folder is removed.
    with tempfile.TemporaryDirectory(prefix="recomputed-") as folder, contextlib.chdir("."):
        for view in use_case.views().views:
            start = max(first, until - DAY - view.ttl) if view.ttl else first
            rows = tables[view.name][0](read_known, start, until).drop(columns="day")
            rows["created"] = publication_times(rows["event_timestamp"], lag, late)
            data = Path(folder) / settings.data.relative_to(settings.root)
            target = partitions.partition_path(data, "features", view.name, until)
            partitions.write_partition(rows, target)
        own = {**settings.model_dump(), "workspace": Path(folder)}
        return training_frame(configuration.Settings(**own), cases)


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
            raise configuration.LoopError("Nothing is published online. Run `mlops features`.")
        rows = cases.assign(decision_time=pd.Timestamp(published)).reset_index(drop=True)
        offline = training_frame(settings, rows)
        online = OnlineReader(settings).read(rows.to_dict("records"), [published] * len(rows))
        if published_until(settings) == published:
            break
    else:
        raise configuration.LoopError(
            "The online store changes during every comparison. Another command is publishing. "
            "Try again when it has finished."
        )
    columns = settings.use_case.features
    return pd.DataFrame([row.values for row in online])[columns], offline[columns]


def count_differing_rows(
    use_case: UseCase, left: pd.DataFrame, right: pd.DataFrame
) -> dict[str, int]:
    """Return the number of differing rows for each column that differs; NaN equals NaN.

    Raise `ValueError` if the frames have different numbers of rows.
    """
    a, b = (
        frame[use_case.features]
        .astype(dict.fromkeys(use_case.numbers, "float64"))
        .reset_index(drop=True)
        for frame in (left, right)
    )
    counts = ((a != b) & ~(a.isna() & b.isna())).sum()
    return {str(name): int(count) for name, count in counts.items() if count}
