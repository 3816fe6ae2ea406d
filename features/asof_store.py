"""Feast's duckdb offline store, reading history through DuckDB's `ASOF JOIN`.

It returns the same values as Feast's stock store. The stock store joins and ranks every pair of
rows within the TTL; this one looks up one row per entity row, so its cost does not grow with the
TTL. `feature_store.yaml` selects it: `offline_store: {type: features.asof_store.AsofOfflineStore}`.
"""

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

# A feature row is visible from its event on; with a filter by creation, from the later of event and
# creation. The query drops every row for which a row with a later event is visible by then (or one
# with the same event and a later creation). Among the remaining rows, events rise with visibility,
# so the last visible row is the answer. Only this row's TTL matters: if it has expired, so have all
# others.
POINT_IN_TIME = """
    WITH entity AS (SELECT *, CAST({time} AS TIMESTAMPTZ) AS __time FROM entities),
    feature AS (
        SELECT {columns},
            CAST({event} AS TIMESTAMPTZ) AS __event,
            CAST({created} AS TIMESTAMPTZ) AS __created,
            {visible} AS __visible
        FROM source WHERE {keyed} __visible <= (SELECT max(__time) FROM entity)
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
    """The stock options; Feast finds this class by the store's name plus `Config`."""

    type: StrictStr = "features.asof_store.AsofOfflineStore"


class AsofOfflineStore(stock_duckdb.DuckDBOfflineStore):
    """Reads Parquet file sources; relative paths and globs start at the working folder.

    Only `get_historical_features` differs from the stock store.
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
        """Join immediately, in the order of `entity_df`; the job only adds on-demand views.

        Raise `ValueError` if `entity_df` is SQL or a source is not Parquet. Raise DuckDB's
        `BinderException`, naming the column, if a join key is missing.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise ValueError("AsofOfflineStore takes entity_df as a pandas DataFrame, not as SQL")
        time = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        # `_to_utc` assigns a column: the shallow copy protects the caller's frame.
        entity_df = stock_ibis._to_utc(entity_df.copy(deep=False), time)
        result = ibis.memtable(entity_df).to_pyarrow()  # the types that the stock store returns
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")  # naive timestamps in the files are UTC
            # DuckDB estimates one row for an Arrow table, and would loop over the rows.
            connection.execute("SET asof_loop_join_threshold = 0")
            connection.register("entities", result.append_column("__row", [range(len(result))]))
            for view in feature_views:
                _create_source(connection, view)
                features = _requested_features(view, feature_refs, full_feature_names)
                sql = _point_in_time_sql(view, features, time, filter_by_created_timestamp)
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


def _create_source(connection: duckdb.DuckDBPyConnection, view: FeatureView) -> None:
    """Create the view `source` on the files, with columns renamed by the field mapping."""
    source = view.batch_source
    if not isinstance(source, FileSource) or not (
        isinstance(source.file_format, ParquetFormat)
        or (source.file_format is None and source.path.endswith(".parquet"))
    ):
        raise ValueError(f"{view.name}: AsofOfflineStore reads Parquet file sources, not {source}")
    table = connection.read_parquet(source.path)
    mapping = [(old, new) for old, new in source.field_mapping.items() if old in table.columns]
    renamed = ", ".join(f"{_quoted(old)} AS {_quoted(new)}" for old, new in mapping)
    table.project(f"* RENAME ({renamed})" if mapping else "*").create_view("source", replace=True)


def _requested_features(
    view: FeatureView, feature_refs: list[str], full_names: bool
) -> dict[str, str]:
    """Return the requested features of the view: name in the view -> name in the result."""
    requested = f"{view.projection.name_to_use()}:"
    prefix = f"{view.projection.name_alias or view.name}__" if full_names else ""
    names = [ref.split(":")[1] for ref in feature_refs if ref.startswith(requested)]
    return {name: prefix + name for name in names}


def _point_in_time_sql(
    view: FeatureView, features: dict[str, str], time: str, filter_by_created: bool
) -> str:
    # The stock store joins on mapped keys only. If the map omits a key, it mixes entities.
    mapped = view.projection.join_key_map
    keys = [(f"__key{i}", column.name) for i, column in enumerate(view.entity_columns)]
    columns = [f"{_quoted(name)} AS {key}" for key, name in keys] + [*map(_quoted, features)]
    created = view.batch_source.created_timestamp_column
    # With a filter by creation, a row without a creation time is never visible.
    filtered = "CASE WHEN __created IS NOT NULL THEN greatest(__event, __created) END"
    microseconds = (view.ttl or timedelta(0)) // timedelta(microseconds=1)  # 0 means no limit
    alive = f"__event + to_microseconds({microseconds}) >= __time" if microseconds else "true"
    return POINT_IN_TIME.format(
        time=_quoted(time),
        columns=", ".join(columns),
        event=_quoted(view.batch_source.timestamp_field),
        created=_quoted(created) if created else "NULL",
        visible=filtered if created and filter_by_created else "__event",
        # Equality should suffice, but DuckDB 1.5 matches null to null in all keys but the first.
        keyed="".join(f"{key} IS NOT NULL AND " for key, _ in keys),
        per_key=f"PARTITION BY {', '.join(key for key, _ in keys)}" if keys else "",
        same_key="".join(
            f"{key} = entity.{_quoted(mapped.get(name, name))} AND " for key, name in keys
        ),
        picked=", ".join(
            f"CASE WHEN {alive} THEN answer.{_quoted(name)} END AS {_quoted(result)}"
            for name, result in features.items()
        ),
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
