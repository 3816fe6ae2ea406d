"""Column types: rows take the types that their schema declares where no value is changed by it."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from pyarrow import types


def to_arrow(rows: pd.DataFrame | pa.Table) -> pa.Table:
    """`rows` without an index and without pandas' metadata; times in microseconds.

    DuckDB fails on nanoseconds. Raises `pyarrow.ArrowException` (a ValueError or TypeError) if a
    column mixes types.
    """
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
    # A schema without pandas' own metadata, which names its version: not a matter of the rows.
    return table.cast(pa.schema([_micro(field) for field in table.schema]), safe=False)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with its columns in the types of `schema` where that changes no value.

    A column without any value takes its declared type: pandas and SQL drivers give it none. A
    missing value turns whole numbers into floats, and floats may by chance be whole; decimals,
    categories and times in another zone hold the same values. All else stays: it is a change of
    schema, as are columns that are missing, added, or in another order.
    """
    for position, field in enumerate(table.schema):
        if field.name not in schema.names or schema.field(field.name).type == field.type:
            continue
        wanted = schema.field(field.name).type
        column = table.column(position)
        if column.null_count == len(column):
            column = _nothing(len(column), wanted)
        elif _alike(field.type, wanted):
            column = _unchanged(column, wanted)
        table = table.set_column(position, pa.field(field.name, column.type), column)
    return table


def widen(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """An older `table` in a `schema` that was declared later.

    A column that it lacks is null, one that is no longer declared is left out, and a type that has
    changed is converted. Raises ValueError, which names the column, if a value would be lost.
    """
    columns = []
    for field in schema:
        if field.name not in table.schema.names:
            columns.append(_nothing(table.num_rows, field.type))
            continue
        column = table.column(field.name)
        empty = column.null_count == len(column)
        try:
            columns.append(_nothing(len(column), field.type) if empty else column.cast(field.type))
        except pa.ArrowException as error:
            raise ValueError(
                f"the column {field.name} does not convert from {column.type} to {field.type} "
                f"({error})"
            ) from error
    return pa.table(columns, schema=schema)


def _nothing(length: int, kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(length, kind)])


def _unchanged(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """`column` in the type `wanted`; as it is, if a value would be changed."""
    try:
        cast = column.cast(wanted)
        # Arrow checks fractions and overflow itself; not a decimal as a float, nor 2 as a boolean.
        loose = types.is_decimal(column.type) and types.is_floating(wanted)
        if (loose or types.is_boolean(wanted)) and not cast.cast(column.type).equals(column):
            return column
        return cast
    except pa.ArrowException:
        return column


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types can hold the same values."""
    if types.is_timestamp(found) and types.is_timestamp(wanted):
        return (found.tz is None) == (wanted.tz is None)
    text = _text(found) or (types.is_dictionary(found) and _text(found.value_type))
    return (text and _text(wanted)) or (
        _number(found) and (_number(wanted) or types.is_boolean(wanted))
    )


def _text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _micro(field: pa.Field) -> pa.Field:
    if types.is_timestamp(field.type):
        return pa.field(field.name, pa.timestamp("us", tz=field.type.tz))
    return pa.field(field.name, field.type)
