"""Publish feature rows to the online store step by step, or rebuild the store."""

import io
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from feast import FeatureView

import settings as configuration
from features import build_manifest, durable_files, locks, partitions
from features.feast_store import apply_definitions, keyed_views
from features.publication_record import published_until, record_text, store_place
from features.table_builder import late_publications

# Beyond this gap, a rebuild by `materialize` is cheaper than publishing hour by hour.
REBUILD_AFTER = timedelta(days=1)
# The longest time between a row's event and its publication. A rebuild would miss later rows.
MAX_DELAY = timedelta(days=2)
TABLES_FILE = "feast/tables.json"  # in var/: the `tables_version` that the store was written from


@locks.with_data_lock
def publish_features(settings: configuration.Settings, as_of: datetime) -> None:
    """Bring the online store to the state of `as_of`, from any earlier or later state.

    A rerun is safe: it writes the same values again. If tables were replaced since the last
    publication, rebuild the store.
    """
    current = published_until(settings)
    replaced = build_manifest.tables_replaced_since(
        settings.data, durable_files.read_json(settings.state / TABLES_FILE)
    )
    if current is None or current > as_of or as_of - current > REBUILD_AFTER or replaced:
        with _name_refused_writes(settings):
            rebuild_online_store(settings, as_of)
    elif current < as_of:
        Publisher(settings, current, as_of).step(as_of)


@contextmanager
def _name_refused_writes(settings: configuration.Settings) -> Iterator[None]:
    """Raise `UnreachableError` if the store answers but does not take a write."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, sqlite3.Error) as error:
        reason = str(error).rpartition("caused error: ")[2]  # without the bytes of the command
        raise configuration.UnreachableError(
            f"The online store refuses a write ({type(error).__name__}: {reason}). It is "
            f"{store_place(settings)}. If its memory or disk is full, give it more. If it is a "
            "read-only replica, set MLOPS_REDIS to the primary. Then run `mlops features`."
        ) from error


def rebuild_online_store(settings: configuration.Settings, as_of: datetime) -> None:
    """Empty the online store and load its state of `as_of` with Feast's `materialize`.

    The record of a complete publication is withdrawn first and written last. Until then, readers
    get no features.
    """
    store = apply_definitions(settings)
    (settings.state / "feast" / "published").unlink(missing_ok=True)  # version 0.1 kept it there
    provider = store._get_provider()
    provider.online_store.withdraw(store.config)
    views = keyed_views(settings.use_case)
    for dropped, created in ((views, []), ([], views)):
        provider.update_infra(store.project, dropped, created, [], [], partial=False)
    # `materialize` ignores when a row was published. So it stops before the first unpublished row,
    # and the publisher writes the rest up to `as_of`.
    late = late_publications(settings.data)
    lag = timedelta(seconds=settings.params()["features"]["publish_lag_seconds"])
    ends = [as_of - lag, *(late[late > as_of].index - timedelta(microseconds=1))]
    end = max(min(ends), as_of - MAX_DELAY)
    with redirect_stdout(io.StringIO()):  # Feast prints a page for each view
        for view in views:
            store.materialize(as_of - MAX_DELAY - view.ttl, end, feature_views=[view.name])
    Publisher(settings, as_of - MAX_DELAY, as_of, expected_record="").step(as_of)


class Publisher:
    """Moves the online store from `since` towards `until` in steps.

    `expected_record` is the store's record before the first step; by default `since`. Unlike
    Feast's `write_to_online_store`, this reads and converts the rows of the whole span once, and
    each step only writes. Converting a handful of rows each hour would cost more than writing them.
    """

    def __init__(
        self, settings: configuration.Settings, since: datetime, until: datetime,
        expected_record: str | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._published = settings, since
        self._record = record_text(since) if expected_record is None else expected_record
        self._store = apply_definitions(settings)
        self._provider = self._store._get_provider()
        tables = build_manifest.tables_version(settings.data, until.astimezone(UTC).date())
        # The last list holds the same rows as Feast stores them.
        self._new: list[tuple[FeatureView, pd.DataFrame, list[Any]]] = []
        for view in keyed_views(settings.use_case):
            rows = self._read(view.name, view.join_keys, since, until)
            if len(rows):
                stored = self._provider._prep_rows_to_write_for_ingestion(view, rows)
                self._new.append((view, rows, stored))
        # Before the rows: after a kill in between, the next publication rebuilds the store.
        durable_files.write_json(settings.state / TABLES_FILE, tables)

    def _read(self, table: str, keys: list[str], since: datetime, until: datetime) -> pd.DataFrame:
        """Return the rows published after `since` and by `until`, in order of publication."""
        days = [moment.astimezone(UTC).date() for moment in (since - MAX_DELAY, until)]
        rows = partitions.read_days(self._settings.data, "features", table, days[0], days[1])
        if rows.empty:
            return rows
        rows = rows.sort_values(["created", "event_timestamp"], kind="stable")
        # Feast would let a late row of an earlier hour replace a newer row.
        newest = rows.groupby(keys, sort=False)["event_timestamp"].cummax()
        in_span = (rows["created"] > since) & (rows["created"] <= until)
        return rows[(rows["event_timestamp"] >= newest) & in_span].reset_index(drop=True)

    def moments(self, until: datetime) -> list[datetime]:
        """Return the times at which rows become visible before `until`, in order."""
        times = {moment for _, rows, _ in self._new for moment in rows["created"].unique()}
        return [each.to_pydatetime() for each in sorted(times) if self._published < each < until]

    def step(self, until: datetime) -> None:
        """Publish the rows that became visible since the last step and by `until`.

        Raise `LoopError` if the store lost the previous publication.
        """
        batches = []
        for view, rows, stored in self._new:
            start, end = rows["created"].searchsorted([self._published, until], side="right")
            # Only the newest row of each key: older ones would be overwritten.
            new = rows[view.join_keys].iloc[start:end].drop_duplicates(keep="last").index
            if len(new):
                batches.append((view, [stored[number] for number in new]))
        online, config = self._provider.online_store, self._store.config
        with _name_refused_writes(self._settings):
            written = online.write_views(config, batches, self._record, record_text(until))
        if not written:
            raise configuration.LoopError(
                "The online store no longer holds the previous publication, of "
                f"{self._record or 'the start of the rebuild'}. It was emptied, or another command "
                "published at the same time. Run `mlops features`, which rebuilds a lost store."
            )
        self._published, self._record = until, record_text(until)
