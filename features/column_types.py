"""Column types: cast rows to their declared types where this changes no value."""

import pandas as pd
import pyarrow as pa
from pyarrow import types


def to_arrow(rows: pd.DataFrame | pa.Table) -> pa.Table:
    """Return `rows` as an Arrow table, without index and pandas metadata, times in microseconds.

    DuckDB fails on nanoseconds. Raise `pyarrow.ArrowException` (a ValueError or TypeError) if a
    column mixes types.
    """
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
    columns = [
        (name, pa.timestamp("us", kind.tz) if types.is_timestamp(kind) else kind)
        for name, kind in zip(table.schema.names, table.schema.types, strict=True)
    ]
    # pandas' metadata names its version: the same rows must give the same bytes.
    return table.cast(pa.schema(columns), safe=False)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return `table` with its columns cast to the types of `schema` where this changes no value.

    - A column without any value takes its declared type: pandas and SQL drivers give it none.
    - Whole numbers become floats with a missing value, and floats may happen to be whole.
    - Decimals, categories and times in another zone hold the same values.

    Any other difference remains as a change of schema: types that hold other values, and columns
    that are missing, added or in another order.
    """
    # pandas' metadata names the zones and types before the cast, and `to_pandas` follows them.
    kept = {name: text for name, text in (table.schema.metadata or {}).items() if name != b"pandas"}
    table = table.replace_schema_metadata(kept)
    for position, name in enumerate(table.schema.names):
        if name in schema.names:
            column = _conform_column(table.column(position), schema.field(name).type)
            table = table.set_column(position, name, column)
    return table


def widen(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return an older `table` in a newer `schema`.

    Missing columns become null, undeclared columns are dropped, and changed types are converted.
    Raise `ValueError`, naming the column, if a value would be lost.
    """
    columns = []
    for field in schema:
        found = field.name in table.schema.names
        column = table.column(field.name) if found else pa.chunked_array([pa.nulls(len(table))])
        try:
            columns.append(
                column.cast(field.type)
                if column.null_count < len(column)
                else _nulls(column, field.type)
            )
        except pa.ArrowException as error:
            raise ValueError(
                f"the column {field.name} does not convert from {column.type} to {field.type} "
                f"({error})"
            ) from error
    return pa.table(columns, schema=schema)


def _conform_column(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if column.null_count == len(column):
        return _nulls(column, wanted)
    kinds = _values_of(column.type), _values_of(wanted)
    if kinds[0] != kinds[1] and kinds != ("numbers", pa.bool_()):
        return column
    try:
        cast = column.cast(wanted)
        # Arrow rejects fractions and overflow, but accepts a decimal as a float and 2 as a boolean.
        unchecked = types.is_decimal(column.type) and types.is_floating(wanted)
        if (unchecked or types.is_boolean(wanted)) and not cast.cast(column.type).equals(column):
            return column
        return cast
    except pa.ArrowException:
        return column


def _nulls(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(len(column), kind)])


def _values_of(kind: pa.DataType) -> str | pa.DataType:
    """Name the values that a type can hold; the type itself if no other can hold the same."""
    if types.is_dictionary(kind):
        return _values_of(kind.value_type)
    if types.is_timestamp(kind):
        return "local times" if kind.tz is None else "times"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numbers"
    return kind
