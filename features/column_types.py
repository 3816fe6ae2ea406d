"""Column types: cast rows to their declared types where this changes no value."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from pyarrow import types


def to_arrow(rows: pd.DataFrame | pa.Table) -> pa.Table:
    """Return `rows` as an Arrow table, without index and pandas metadata, times in microseconds.

    DuckDB fails on nanoseconds. Raise `pyarrow.ArrowException` (a ValueError or TypeError) if a
    column mixes types.
    """
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
    # pandas' metadata names its version: the same rows must give the same bytes.
    return table.cast(pa.schema([_in_microseconds(field) for field in table.schema]), safe=False)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return `table` with its columns cast to the types of `schema` where this changes no value.

    - A column without any value takes its declared type: pandas and SQL drivers give it none.
    - Whole numbers become floats with a missing value, and floats may happen to be whole.
    - Decimals, categories and times in another zone hold the same values.

    Any other difference remains as a change of schema: types that hold other values, and columns
    that are missing, added or in another order.
    """
    for position, field in enumerate(table.schema):
        if field.name not in schema.names or schema.field(field.name).type == field.type:
            continue
        wanted = schema.field(field.name).type
        column = table.column(position)
        if column.null_count == len(column):
            column = _nulls(len(column), wanted)
        elif _compatible(field.type, wanted):
            column = _cast_if_lossless(column, wanted)
        table = table.set_column(position, pa.field(field.name, column.type), column)
    return table


def widen(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return an older `table` in a newer `schema`.

    Missing columns become null, undeclared columns are dropped, and changed types are converted.
    Raise `ValueError`, naming the column, if a value would be lost.
    """
    columns = []
    for field in schema:
        if field.name not in table.schema.names:
            columns.append(_nulls(table.num_rows, field.type))
            continue
        column = table.column(field.name)
        empty = column.null_count == len(column)
        try:
            columns.append(_nulls(len(column), field.type) if empty else column.cast(field.type))
        except pa.ArrowException as error:
            raise ValueError(
                f"the column {field.name} does not convert from {column.type} to {field.type} "
                f"({error})"
            ) from error
    return pa.table(columns, schema=schema)


def _nulls(length: int, kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(length, kind)])


def _cast_if_lossless(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Return `column` cast to `wanted`, or unchanged if the cast would change a value."""
    try:
        cast = column.cast(wanted)
        # Arrow rejects fractions and overflow, but accepts a decimal as a float and 2 as a boolean.
        unchecked = types.is_decimal(column.type) and types.is_floating(wanted)
        if (unchecked or types.is_boolean(wanted)) and not cast.cast(column.type).equals(column):
            return column
        return cast
    except pa.ArrowException:
        return column


def _compatible(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether the two types can hold the same values."""
    if types.is_timestamp(found) and types.is_timestamp(wanted):
        return (found.tz is None) == (wanted.tz is None)
    text = _is_text(found) or (types.is_dictionary(found) and _is_text(found.value_type))
    return (text and _is_text(wanted)) or (
        _is_number(found) and (_is_number(wanted) or types.is_boolean(wanted))
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _in_microseconds(field: pa.Field) -> pa.Field:
    if types.is_timestamp(field.type):
        return pa.field(field.name, pa.timestamp("us", tz=field.type.tz))
    return pa.field(field.name, field.type)
