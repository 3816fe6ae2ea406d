"""Types and encodings shared by the online stores, which read all views in one query.

Feast's SDK wraps every value that it reads in a protocol buffers message. `sqlite_store.py` and
`redis_store.py` keep Feast's storage format but return plain values. Class paths in the settings
select them. tests/features/test_online_stores.py compares them with Feast's own stores;
`tests/bench/serving/lookup.py` prints the time saved.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values

DOUBLE = Value(double_val=1.0).SerializeToString()[:1]  # the tag that precedes the eight bytes
unpack_double = struct.Struct("<d").unpack_from


class StoredValues(NamedTuple):
    """The values of one key in one view, by column, and their event time in epoch seconds."""

    values: dict[str, Any]
    event_time: float


NO_VALUES = StoredValues({}, 0.0)
# Takes rows with join keys. Returns the record of the complete publication (an ISO time), and for
# each view, in order, the stored values of each row's entity; None without such a publication.
ReadOnline = Callable[[Sequence[Mapping[str, Any]]], tuple[str, list[list[StoredValues]]] | None]
# The key of each entity, its values by column, its event time and its time of publishing.
RowsToWrite = Sequence[tuple[EntityKey, Mapping[str, Value], datetime, datetime | None]]


def key_serializer(
    config: RepoConfig, view: FeatureView
) -> Callable[[Sequence[Mapping[str, Any]]], list[bytes]]:
    """Return a function from rows with the view's join keys to the stored key of each row.

    Cached, because most requests repeat known entities.
    """
    names = tuple(view.join_keys)
    types = [column.dtype.to_value_type() for column in view.entity_columns]

    @lru_cache(maxsize=1 << 16)
    def serialize(values: tuple[Any, ...]) -> bytes:
        typed = [
            python_values_to_proto_values([value], kind)[0]
            for value, kind in zip(values, types, strict=True)
        ]
        return serialize_entity_key(
            EntityKey(join_keys=names, entity_values=typed),
            entity_key_serialization_version=config.entity_key_serialization_version,
        )

    return lambda rows: [serialize(tuple(row[name] for name in names)) for row in rows]


def decode_value(stored: bytes) -> Any:
    """Return the value that Feast has stored; nearly all values are doubles."""
    if len(stored) == 9 and stored[:1] == DOUBLE:
        return unpack_double(stored, 1)[0]
    message = Value()
    message.ParseFromString(stored)
    return feast_value_type_to_python_type(message)
