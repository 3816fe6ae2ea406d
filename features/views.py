"""Helpers for a use case's definitions of Feast."""

from collections.abc import Sequence
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64


def entity(name: str) -> Entity:
    """Return an entity whose key is the text column `name`."""
    return Entity(name=name, join_keys=[name], value_type=ValueType.STRING)


def table_view(
    use_case: str, table: str, of: Entity, columns: Sequence[str], ttl: timedelta
) -> FeatureView:
    """Return the view of a feature table of numbers."""
    return FeatureView(
        name=table,
        entities=[of],
        ttl=ttl,
        schema=[Field(name=column, dtype=Float64) for column in columns],
        source=FileSource(
            name=f"{table}_source",
            path=f"data/{use_case}/features/{table}/*.parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    )
