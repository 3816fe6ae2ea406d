"""How are lines of JSON read into columns, with every text left a text?"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json


def table(content: bytes) -> pa.Table:
    """Whole lines as a table with a column `object.field` for each field of a nested object.

    Raises `pyarrow.ArrowInvalid` if a line is not a JSON object, or types of a column clash.
    """
    found = _parse(content, None)
    # Arrow takes a text for a time where it looks like one: then two files differ by their luck.
    if (texts := pa.schema([_as_text(field) for field in found.schema])) != found.schema:
        found = _parse(content, texts)
    while any(pa.types.is_struct(field.type) for field in found.schema):
        found = found.flatten()
    return found


def _parse(content: bytes, schema: pa.Schema | None) -> pa.Table:
    return pa_json.read_json(
        pa.BufferReader(content),
        parse_options=pa_json.ParseOptions(explicit_schema=schema),
    )


def _as_text(field: Any) -> Any:
    if pa.types.is_struct(field.type):
        return field.with_type(pa.struct([_as_text(part) for part in field.type]))
    return field.with_type(pa.string()) if pa.types.is_timestamp(field.type) else field
