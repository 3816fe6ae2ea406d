"""How feature rows reach the online store: one publication after the other, or rebuilt."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

import settings as configuration
from features import build_manifest, data_lock, durable_files, partitions
from features.feast_store import apply_definitions, registered_views
from features.publication_record import published_until, record_text
from features.table_builder import late_publications
from usecase.feature_views import VIEWS

# Beyond such a gap, rebuilding by `materialize` is cheaper than publishing hour after hour.
REBUILD_AFTER = timedelta(days=1)
# No row is older than this when it is published; a later one would be missed by a rebuild.
LATEST = timedelta(days=2)


@data_lock.with_data_lock
def publish_features(settings: configuration.Settings, as_of: datetime) -> None:
    """Brings the online store to what was published by `as_of`, from wherever it stood.

    A rerun is safe: what is there is written again, with the same values. Where tables were
    replaced since the last publication, the store is rebuilt.
    """
    stood = published_until(settings)
    replaced = build_manifest.tables_replaced_since(
        settings.data, durable_files.read_json(_tables_published(settings))
    )
    if stood is None or stood > as_of or as_of - stood > REBUILD_AFTER or replaced:
        rebuild_online_store(settings, as_of)
    elif stood < as_of:
        Publisher(settings, stood, as_of).step(as_of)


def rebuild_online_store(settings: configuration.Settings, as_of: datetime) -> None:
    """Empties the online store and loads it with Feast's `materialize`, as it stood at `as_of`.

    Its record of a complete publication goes first and comes last: readers do without it meanwhile.
    """
    store = apply_definitions(settings)
    (settings.var / "feast" / "published").unlink(missing_ok=True)  # version 0.1 kept it there
    provider = store._get_provider()
    provider.online_store.withdraw(store.config)
    views = registered_views(store)
    for doomed, kept in ((views, []), ([], views)):  # drops their tables, and makes them
        provider.update_infra(store.project, doomed, kept, [], [], partial=False)
    # `materialize` does not know when a row was published: it stops before the first row that was
    # not, and what is left to publish by `as_of` follows.
    hidden = late_publications(settings.data)
    lag = timedelta(seconds=settings.params()["features"]["publish_lag_seconds"])
    ends = [as_of - lag, *(hidden[hidden > as_of].index - timedelta(microseconds=1))]
    end = max(min(ends), as_of - LATEST)
    with redirect_stdout(io.StringIO()):  # Feast prints a page a view
        for view in VIEWS:
            store.materialize(as_of - LATEST - view.ttl, end, feature_views=[view.name])
    Publisher(settings, as_of - LATEST, as_of, stood="").step(as_of)


def _tables_published(settings: configuration.Settings) -> Path:
    """The file with what `built.standing` said of the tables that the store was written from."""
    return settings.var / "feast" / "tables.json"


class Publisher:
    """Moves the online store from `since` towards `until`; reads the tables of that span once.

    `stood` is what the store's record must hold at the first step; by default `since`.
    What Feast's `write_to_online_store` does in one call is done here in two: the whole span is
    converted at once, and each step only writes. Called hour after hour, the conversion of a
    handful of rows costs more than their writing.
    """

    def __init__(
        self, settings: configuration.Settings, since: datetime, until: datetime,
        stood: str | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._at = settings, since
        self._stood = record_text(since) if stood is None else stood
        self._store = apply_definitions(settings)
        self._provider = self._store._get_provider()
        self._rows: dict[str, pd.DataFrame] = {}
        self._stored: dict[str, list[Any]] = {}  # the same rows, as Feast stores them
        # As registered: Feast learns a view's keys when it is applied, which may be long ago.
        self._views = registered_views(self._store)
        tables = build_manifest.tables_version(settings.data, until.astimezone(UTC).date())
        for view in self._views:
            rows = self._rows[view.name] = self._read(view.name, view.entities[0], since, until)
            convert = self._provider._prep_rows_to_write_for_ingestion
            self._stored[view.name] = convert(view, rows) if len(rows) else []
        # Before the rows: killed in between, the next publication rebuilds rather than trusts.
        durable_files.write_json(_tables_published(settings), tables)

    def _read(self, table: str, key: str, since: datetime, until: datetime) -> pd.DataFrame:
        """The rows to publish after `since` and by `until`, in that order."""
        days = [moment.astimezone(UTC).date() for moment in (since - LATEST, until)]
        rows = partitions.read_days(self._settings.data, "features", table, days[0], days[1])
        if rows.empty:
            return rows
        rows = rows.sort_values(["created", "event_timestamp"], kind="stable")
        # Feast would let a late row of an earlier hour replace the newer one that is online.
        newest = rows.groupby(key, sort=False)["event_timestamp"].cummax()
        open_rows = (rows["created"] > since) & (rows["created"] <= until)
        return rows[(rows["event_timestamp"] >= newest) & open_rows].reset_index(drop=True)

    def moments(self, until: datetime) -> list[datetime]:
        """When something is published between where the store stands and `until`, in order."""
        every = pd.concat([rows["created"] for rows in self._rows.values() if len(rows)])
        found = every[(every > self._at) & (every < until)].drop_duplicates().sort_values()
        return [moment.to_pydatetime() for moment in found]

    def step(self, until: datetime) -> None:
        """Publishes what became visible since the last step and by `until`.

        Raises `LoopError` if the store lost what was published before.
        """
        batches = []
        for view in self._views:
            rows = self._rows[view.name]
            if rows.empty:
                continue
            start, end = rows["created"].searchsorted([self._at, until], side="right")
            # Of several rows of a key the newest alone: those before it would be overwritten.
            new = rows[view.entities[0]].iloc[start:end].drop_duplicates(keep="last").index
            if len(new):
                batches.append((view, [self._stored[view.name][number] for number in new]))
        online, config = self._provider.online_store, self._store.config
        if not online.write_views(config, batches, self._stood, record_text(until)):
            raise configuration.LoopError(
                "The online store no longer holds what was published before, up to "
                f"{self._stood or 'the start of its rebuilding'}. It was emptied, or another "
                "command published meanwhile. Run `mlops features`, which rebuilds a lost store."
            )
        self._at, self._stood = until, record_text(until)
