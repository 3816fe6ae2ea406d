"""How are lines of JSON read into columns, with every text left a text, and tables made one?"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json

SAMPLE_BYTES = 1 << 20


def parse_json_lines(content: bytes) -> pa.Table:
    """Whole lines as a table with a column `object.field` for each field of a nested object.

    Raises `pyarrow.ArrowInvalid` if a line is not a JSON object, or types of a column clash.
    """
    # Arrow takes a text for a time where all in the column look like one: then two files differ by
    # their luck. So what is a text is learnt first, from a sample, and once more if that missed it.
    texts = _texts(_parse(content[: content.find(b"\n", SAMPLE_BYTES) + 1] or content, []).schema)
    found = _parse(content, texts)
    if (all_texts := _texts(found.schema)) != texts:
        found = _parse(content, all_texts)
    while any(pa.types.is_struct(field.type) for field in found.schema):
        found = found.flatten()
    return found


def merge_tables(tables: list[pa.Table]) -> pa.Table:
    """The rows of all `tables` under all of their columns; null where a table lacks one.

    Types that can't be one (a code that was a number and became a text) become texts.
    """
    types: dict[str, pa.DataType] = {}
    for field in (field for table in tables for field in table.schema):
        types[field.name] = _common(types.get(field.name, field.type), field.type)
    return pa.concat_tables(
        [
            table.cast(pa.schema([(f.name, types[f.name]) for f in table.schema]))
            for table in tables
        ],
        promote_options="default",
    )


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other:
        return one
    schemas = [pa.schema([("", each)]) for each in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return pa.string()


def _parse(content: bytes, texts: list[Any]) -> pa.Table:
    options = pa_json.ParseOptions(explicit_schema=pa.schema(texts))
    return pa_json.read_json(pa.BufferReader(content), parse_options=options)


def _texts(fields: Any) -> list[Any]:
    """The fields that hold texts, or times that were texts, as texts; others are left to Arrow."""
    found = []
    for field in fields:
        if pa.types.is_struct(field.type):
            if inner := _texts(field.type):
                found.append(field.with_type(pa.struct(inner)))
        elif pa.types.is_string(field.type) or pa.types.is_timestamp(field.type):
            found.append(field.with_type(pa.string()))
    return found
