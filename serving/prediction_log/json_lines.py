"""Parses JSON lines into Arrow tables, without guessing times, and merges tables."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json

SAMPLE_BYTES = 1 << 20


def parse_json_lines(content: bytes) -> pa.Table:
    """Return whole lines as a table, with a column `object.field` for each nested field.

    Raises `pyarrow.ArrowInvalid` if a line is not a JSON object, or types of a column clash.
    """
    # Arrow reads a text column as times if all its values look like times, so two files might
    # differ by chance. A sample shows which columns are texts; if it missed one, parse again.
    sample = content[: content.find(b"\n", SAMPLE_BYTES) + 1] or content
    texts = _text_fields(_parse(sample, []).schema)
    table = _parse(content, texts)
    if (all_texts := _text_fields(table.schema)) != texts:
        table = _parse(content, all_texts)
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def merge_tables(tables: list[pa.Table]) -> pa.Table:
    """Return the rows of all `tables` with all of their columns; null where a table lacks one.

    Types that have no common type (a code that was a number and became a text) become texts.
    """
    types: dict[str, pa.DataType] = {}
    for field in (field for table in tables for field in table.schema):
        types[field.name] = _common_type(types.get(field.name, field.type), field.type)
    return pa.concat_tables(
        [
            table.cast(pa.schema([(f.name, types[f.name]) for f in table.schema]))
            for table in tables
        ],
        promote_options="default",
    )


def _common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
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


def _text_fields(fields: Any) -> list[Any]:
    """Return the text fields, and the times that Arrow made of texts, with the type text."""
    texts = []
    for field in fields:
        if pa.types.is_struct(field.type):
            if inner := _text_fields(field.type):
                texts.append(field.with_type(pa.struct(inner)))
        elif pa.types.is_string(field.type) or pa.types.is_timestamp(field.type):
            texts.append(field.with_type(pa.string()))
    return texts
