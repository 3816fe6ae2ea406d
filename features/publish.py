"""How feature rows reach the online store: hour by hour as they are published, or rebuilt."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from datetime import UTC, date, datetime, timedelta

import pandas as pd

import settings as configuration
from features import partitions
from features.store import apply
from usecase.feature_views import TABLES, VIEWS

# Beyond such a gap, rebuilding by `materialize` is cheaper than writing hour after hour.
REBUILD_AFTER = timedelta(days=1)


def publish(settings: configuration.Settings, as_of: datetime) -> dict[str, int]:
    """Brings the online store to what was published by `as_of`; rows written by table.

    Publishing what is published already writes the same values again: a rerun is safe.
    """
    marker = settings.var / "feast" / "published"
    since = datetime.fromisoformat(marker.read_text()) if marker.exists() else None
    if since is not None and since >= as_of:
        return {}
    if since is None or as_of - since > REBUILD_AFTER:
        written = rebuild(settings, as_of)
    else:
        written = Publisher(settings, since, as_of).step(since, as_of)
    marker.write_text(as_of.isoformat())
    return written


def rebuild(settings: configuration.Settings, as_of: datetime) -> dict[str, int]:
    """Loads the online store from the feature tables with Feast's `materialize`."""
    store = apply(settings)
    lag = timedelta(seconds=settings.params()["features"]["publish_lag_seconds"])
    with redirect_stdout(io.StringIO()):  # Feast prints a page a view
        for view in VIEWS:
            # Rows whose hour has ended but that are not published yet must not be seen.
            store.materialize(as_of - view.ttl, as_of - lag, feature_views=[view.name])
    return {view.name: -1 for view in VIEWS}


class Publisher:
    """Writes the rows published in a span of time; reads the tables of that span once."""

    def __init__(self, settings: configuration.Settings, since: datetime, until: datetime) -> None:
        self._store = apply(settings)
        first = _day(since) - timedelta(days=1)
        self._rows = {
            table: partitions.read(settings.data, "features", table, first, _day(until))
            for table in TABLES
        }

    def moments(self, since: datetime, until: datetime) -> list[datetime]:
        """When something was published after `since` and before `until`, in order."""
        every = pd.concat([rows["created"] for rows in self._rows.values() if len(rows)])
        found = every[(every > since) & (every < until)].drop_duplicates().sort_values()
        return [moment.to_pydatetime() for moment in found]

    def step(self, since: datetime, until: datetime) -> dict[str, int]:
        """Writes what was published after `since` and by `until`; the last row of each entity."""
        written = {}
        for view in VIEWS:
            rows = self._rows[view.name]
            if rows.empty:
                continue
            rows = rows[(rows["created"] > since) & (rows["created"] <= until)]
            rows = rows.sort_values(["event_timestamp", "created"], kind="stable")
            rows = rows.drop_duplicates(view.entities[0], keep="last")
            if len(rows):
                self._store.write_to_online_store(view.name, df=rows)
                written[view.name] = len(rows)
        return written


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()
