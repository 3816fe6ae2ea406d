"""The records of the prediction log: their declared columns, and how segments become tables.

The types of columns are declared, never guessed: those of the log here, those of `request` and
`features` by the use case. What another version of it has logged keeps JSON's own types.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from contract import UseCase
from settings import LoopError

TEXT, NUMBER, FLAG = pa.string(), pa.float64(), pa.bool_()
JSON_TYPES = {"string": TEXT, "number": NUMBER, "integer": pa.int64(), "boolean": FLAG}
UTC_TIMESTAMP = pa.timestamp("us", tz="UTC")
TIME_COLUMNS = ("decision_time", "features_as_of", "logged_at", "asked_at", "published_until")
# Every record has a value in these.
REQUIRED = {
    "request_id": TEXT, "key": TEXT, "probability": NUMBER, "decision": FLAG,
    "model_version": TEXT, "model_digest": TEXT, "decision_time": TEXT, "logged_at": TEXT,
}  # fmt: skip
OWN = REQUIRED | {
    "prediction_id": TEXT, "client": TEXT, "route": TEXT, "body_digest": TEXT, "asked_at": TEXT,
    "published_until": TEXT, "features_as_of": TEXT, "arm": TEXT, "generation": pa.int64(),
    "scoring_ms": NUMBER, "shadow_version": TEXT, "shadow_probability": NUMBER, "shadow_ms": NUMBER,
    "shadow_error": TEXT, "challenger_version": TEXT, "challenger_error": TEXT, "degraded": FLAG,
    "fallback": FLAG,
}  # fmt: skip


def prediction_id(client: str, route: str, request_id: str, body_digest: str) -> str:
    """Return the log's id of an answer, 32 hexadecimal digits.

    A repeated request has the same one in every process; another client or body has another one.
    """
    asked = "\0".join((client, route, request_id, body_digest))
    return sha256(asked.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class SegmentRecords:
    """The records of a segment, with `TIME_COLUMNS` as timestamps.

    `torn`: its last line has no end. It was never acknowledged and is left out.
    """

    name: str
    table: pa.Table
    torn: bool


@cache
def declared_schema(use_case: UseCase) -> pa.Schema:
    """Return the columns of a record as written: the log's own, `request` and `features`."""
    request = {}
    for name, field in use_case.request().model_json_schema()["properties"].items():
        kinds = {each.get("type") for each in field.get("anyOf", [field])} - {"null"}
        if len(kinds) == 1 and kinds <= JSON_TYPES.keys():
            request[name] = JSON_TYPES[kinds.pop()]
    features = {name: TEXT if name in use_case.categories else NUMBER for name in use_case.features}
    nested = {"request": pa.struct(request.items()), "features": pa.struct(features.items())}
    return pa.schema((OWN | nested).items())


def empty_table(use_case: UseCase) -> pa.Table:
    """Return a table with the declared columns, as `parse_segment` returns them, and no row."""
    return _with_times(_flatten(declared_schema(use_case).empty_table()))


def parse_segment(use_case: UseCase, path: Path, content: bytes) -> SegmentRecords:
    """Parse a segment, with a column `object.field` for each nested field.

    Raises `LoopError` if a whole line is not a record.
    """
    whole = content[: content.rfind(b"\n") + 1]
    try:
        table = _parse_lines(use_case, whole) if whole else empty_table(use_case)
        if absent := [name for name in REQUIRED if table[name].null_count]:
            raise pa.ArrowInvalid(f"records without {absent}")
    except pa.ArrowInvalid as error:
        raise LoopError(
            f"{path} holds a line that is not a record ({error}). Another program wrote to it, or "
            "the disk is faulty. Restore the file, or move it away and lose its records."
        ) from error
    return SegmentRecords(path.name, table, torn=len(whole) < len(content))


def _parse_lines(use_case: UseCase, content: bytes) -> pa.Table:
    try:
        table = _read_json(content, declared_schema(use_case))
    except pa.ArrowInvalid:  # not a record, or one of a version that declared other types
        table = _read_json(content, pa.schema(OWN.items()))
    return _with_times(_flatten(table))


def _read_json(content: bytes, schema: pa.Schema) -> pa.Table:
    options = pa_json.ParseOptions(explicit_schema=schema)
    table = pa_json.read_json(pa.BufferReader(content), parse_options=options)
    # Arrow takes undeclared texts for times if all of them look like times. Read them again.
    texts = pa.schema([_with_texts(field) for field in table.schema])
    return table if texts == table.schema else _read_json(content, texts)


def _with_texts(field: pa.Field) -> pa.Field:
    if pa.types.is_struct(field.type):
        return field.with_type(pa.struct([_with_texts(inner) for inner in field.type]))
    return field.with_type(TEXT) if pa.types.is_timestamp(field.type) else field


def _flatten(table: pa.Table) -> pa.Table:
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def _with_times(table: pa.Table) -> pa.Table:
    types = dict.fromkeys(TIME_COLUMNS, UTC_TIMESTAMP)
    return table.cast(pa.schema([(f.name, types.get(f.name, f.type)) for f in table.schema]))


def merge_records(use_case: UseCase, tables: Iterable[pa.Table]) -> tuple[pa.Table, int]:
    """Return each prediction's first record in the order of logging; and the number of later ones.

    Records of an older version have no `prediction_id`; theirs is their request id. The columns
    are the declared ones and all of the `tables`; null where a table lacks one. Types that have no
    common type (a code that was a number and became a text) become texts.
    """
    tables = [empty_table(use_case), *tables]
    types: dict[str, pa.DataType] = {}
    for field in (field for table in tables for field in table.schema):
        types[field.name] = _common_type(types.get(field.name, pa.null()), field.type)
    casts = [table.cast(pa.schema([(n, types[n]) for n in table.column_names])) for table in tables]
    merged = pa.concat_tables(casts, promote_options="default").sort_by("logged_at")
    identity = pc.coalesce(merged["prediction_id"], merged["request_id"])
    column = merged.schema.get_field_index("prediction_id")
    merged = merged.set_column(column, "prediction_id", identity)
    repeated = identity.to_pandas().duplicated()
    return merged.filter(pa.array(~repeated)), int(repeated.sum())


def _common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    schemas = [pa.schema([("", each)]) for each in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return TEXT
