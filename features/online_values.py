"""What does Feast's online store hold of a case, read at the price of one query?

Feast's SDK builds a message of protocol buffers around every value that it reads. The stores in
`sqlite_store.py` and `redis_store.py`, chosen by class path as `asof_store.py` is offline, hold
what Feast's own hold, and give it as it is. tests/features/test_online_stores.py holds both to the
same answers; `tests/bench/serving/lookup.py` prints what it saves.
"""

from __future__ import annotations

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

DOUBLE = Value(double_val=1.0).SerializeToString()[:1]  # the tag before the eight bytes
unpack_double = struct.Struct("<d").unpack_from


class StoredValues(NamedTuple):
    """What a view holds of one key: its values by column, and their event time in epoch seconds."""

    values: dict[str, Any]
    at: float


NO_VALUES = StoredValues({}, 0.0)
# For each view, in order, what it holds of each row's entity; None if the store holds no complete
# publication.
ReadOnline = Callable[[Sequence[Mapping[str, Any]]], list[list[StoredValues]] | None]
# To write: the key of each entity, its values by column, event time, time of publishing.
RowsToWrite = Sequence[tuple[EntityKey, Mapping[str, Value], datetime, datetime | None]]


class EntityKeys:
    """Feast's keys of a view's entities: of those asked for, most were asked for before."""

    def __init__(self, config: RepoConfig, view: FeatureView) -> None:
        self.names = tuple(view.join_keys)
        types = [column.dtype.to_value_type() for column in view.entity_columns]

        @lru_cache(maxsize=1 << 16)
        def of(values: tuple[Any, ...]) -> bytes:
            typed = [
                python_values_to_proto_values([value], kind)[0]
                for value, kind in zip(values, types, strict=True)
            ]
            return serialize_entity_key(
                EntityKey(join_keys=self.names, entity_values=typed),
                entity_key_serialization_version=config.entity_key_serialization_version,
            )

        self._of = of

    def of(self, rows: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """The key of each row's entity, by the columns of the row that are its join keys."""
        return [self._of(tuple(row[name] for name in self.names)) for row in rows]


def decode_value(stored: bytes) -> Any:
    """The value that Feast has stored; nearly all are doubles."""
    if len(stored) == 9 and stored[:1] == DOUBLE:
        return unpack_double(stored, 1)[0]
    message = Value()
    message.ParseFromString(stored)
    return feast_value_type_to_python_type(message)
