"""Feast's duckdb offline store, with its history read through DuckDB's `ASOF JOIN`.

Values are those of the stock store. That one joins every pair of rows that the TTL allows and
ranks them; here each entity row looks up one, so that cost does not grow with the TTL.
Chosen in `feature_store.yaml` by `offline_store: {type: features.asof_store.AsofOfflineStore}`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import duckdb
import ibis
import pandas as pd
from feast import FeatureView, OnDemandFeatureView
from feast.data_format import ParquetFormat
from feast.infra.offline_stores import duckdb as stock_duckdb
from feast.infra.offline_stores import ibis as stock_ibis
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from pydantic import StrictStr

# A feature row is visible from its event on or, if filtered by creation, from the later of the
# two. It is never the answer if, once it is visible, so is one with a later event (or the same
# event and a later creation). Without such rows, events rise with visibility, and the last visible
# row is the answer. The TTL is tested on it alone: if it has expired, so have all others.
POINT_IN_TIME = """
    WITH entity AS (SELECT *, CAST({time} AS TIMESTAMPTZ) AS __time FROM entities),
    feature AS (
        SELECT {columns},
            CAST({event} AS TIMESTAMPTZ) AS __event,
            CAST({created} AS TIMESTAMPTZ) AS __created,
            {visible} AS __visible
        FROM source WHERE __visible <= (SELECT max(__time) FROM entity)
    ),
    answer AS (
        SELECT * FROM feature
        WINDOW known AS ({per_key} ORDER BY __visible, __event, __created NULLS FIRST)
        QUALIFY __event = max(__event) OVER known
            AND __visible IS DISTINCT FROM lead(__visible) OVER known
    )
    SELECT {picked}
    FROM entity ASOF LEFT JOIN answer ON {same_key} answer.__visible <= entity.__time
    ORDER BY entity.__row
"""


class AsofOfflineStoreConfig(stock_duckdb.DuckDBOfflineStoreConfig):
    """Feast finds it by the store's name with `Config` added; the options are the stock ones."""

    type: StrictStr = "features.asof_store.AsofOfflineStore"


class AsofOfflineStore(stock_duckdb.DuckDBOfflineStore):
    """Reads Parquet file sources; a relative path, glob or not, is relative to the working folder.

    All but `get_historical_features` is inherited.
    """

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> stock_ibis.IbisRetrievalJob:
        """Joins at once, in the order of `entity_df`; the job has only on-demand views to add.

        Raises `ValueError` if `entity_df` is SQL or a source is not Parquet, and DuckDB's
        `BinderException`, which names the column, if a join key is missing.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise ValueError("AsofOfflineStore takes entity_df as a pandas DataFrame, not as SQL")
        time = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        # Assigns a column: the shallow copy leaves the caller's frame as it was.
        entity_df = stock_ibis._to_utc(entity_df.copy(deep=False), time)
        result = ibis.memtable(entity_df).to_pyarrow()  # the types that stock would return
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")  # naive timestamps in the files are UTC
            # DuckDB expects one row of an Arrow table, so would join by a loop: 100 times slower.
            connection.execute("SET asof_loop_join_threshold = 0")
            connection.register("entities", result.append_column("__row", [range(len(result))]))
            for view in feature_views:
                source = connection.read_parquet(_parquet_path(view))
                source.create_view("source", replace=True)
                keys = _join_keys(view)
                features = _features(view, feature_refs, full_feature_names)
                filtered = filter_by_created_timestamp
                sql = _point_in_time(view, source.columns, keys, features, time, filtered)
                answers = connection.sql(sql).to_arrow_table()
                for name in features.values():
                    result = result.append_column(name, answers[name])
        span = stock_ibis._get_entity_df_event_timestamp_range(entity_df, time)
        others = [name for name in entity_df.columns if name != time]
        return stock_ibis.IbisRetrievalJob(
            ibis.memtable(result),
            OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            full_feature_names,
            metadata=RetrievalMetadata(feature_refs, others, *span),
            data_source_writer=stock_duckdb._write_data_source,
            staging_location=config.offline_store.staging_location,
            staging_location_endpoint_override=config.offline_store.staging_location_endpoint_override,
            repo_path=str(config.repo_path),
        )


def _parquet_path(view: FeatureView) -> str:
    source = view.batch_source
    if isinstance(source, FileSource):
        undeclared = source.file_format is None and source.path.endswith(".parquet")
        if undeclared or isinstance(source.file_format, ParquetFormat):
            return str(source.path)
    raise ValueError(f"{view.name}: AsofOfflineStore reads Parquet file sources, not {source!r}")


def _join_keys(view: FeatureView) -> dict[str, str]:
    """The view's join keys: name in the view -> name in the entity frame."""
    # Stock joins on the mapped keys alone where the map leaves some out, and so mixes entities.
    alias = view.projection.join_key_map
    return {column.name: alias.get(column.name, column.name) for column in view.entity_columns}


def _features(view: FeatureView, feature_refs: list[str], full_names: bool) -> dict[str, str]:
    """The features asked of the view: name in the view -> name in the result."""
    asked = f"{view.projection.name_to_use()}:"
    prefix = f"{view.projection.name_alias or view.name}__" if full_names else ""
    names = [ref.split(":")[1] for ref in feature_refs if ref.startswith(asked)]
    return {name: prefix + name for name in names}


def _point_in_time(
    view: FeatureView,
    stored: list[str],
    keys: dict[str, str],
    features: dict[str, str],
    time: str,
    filter_by_created: bool,
) -> str:
    source = view.batch_source
    renamed = {new: old for old, new in source.field_mapping.items() if old in stored}

    def column(name: str) -> str:
        return _quoted(renamed.get(name, name))

    columns = [f"{column(key)} AS __key{i}" for i, key in enumerate(keys)]
    columns += [f"{column(name)} AS {_quoted(name)}" for name in features]
    created, ttl = source.created_timestamp_column, view.ttl or timedelta(0)
    # A row that does not say when it was created is never visible to who asks about creation.
    filtered = "CASE WHEN __created IS NOT NULL THEN greatest(__event, __created) END"
    microseconds = ttl // timedelta(microseconds=1)
    alive = f"__event + to_microseconds({microseconds}) >= __time" if ttl else "true"
    return POINT_IN_TIME.format(
        time=_quoted(time),
        columns=", ".join(columns),
        event=column(source.timestamp_field),
        created=column(created) if created else "NULL",
        visible=filtered if created and filter_by_created else "__event",
        per_key=f"PARTITION BY {', '.join(f'__key{i}' for i in range(len(keys)))}" if keys else "",
        same_key="".join(
            f"__key{i} = entity.{_quoted(k)} AND " for i, k in enumerate(keys.values())
        ),
        picked=", ".join(
            f"CASE WHEN {alive} THEN answer.{_quoted(name)} END AS {_quoted(result)}"
            for name, result in features.items()
        ),
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
