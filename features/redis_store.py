"""Feast's online store in Redis, with one command for all views of an entity."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.online_stores import redis
from google.protobuf.timestamp_pb2 import Timestamp
from redis.exceptions import WatchError

from features.online_values import (
    NO_VALUES,
    ReadOnline,
    RowsToWrite,
    StoredValues,
    decode_value,
    key_serializer,
)
from features.publication_record import FIELD, RECORD, redis_client


class LeanRedisOnlineStoreConfig(redis.RedisOnlineStoreConfig):
    type: Literal["features.redis_store.LeanRedisOnlineStore"] = (
        "features.redis_store.LeanRedisOnlineStore"
    )
    seconds: float = 1.0  # a reader waits this long for an answer


class LeanRedisOnlineStore(redis.RedisOnlineStore):
    """Feast's Redis store, reading all views of an entity with one command."""

    def write_views(
        self, config: RepoConfig, batches: Sequence[tuple[FeatureView, RowsToWrite]],
        expected: str, until: str,
    ) -> bool:  # fmt: skip
        """Write the rows of each view, then move the record to `until`.

        Return False and leave the record if it is not `expected` or changes meanwhile.
        """
        name = _record(config)
        with self._get_client(config.online_store).pipeline() as record:
            record.watch(name)
            if record.hget(name, FIELD) != expected.encode():
                return False
            for view, rows in batches:
                self.online_write_batch(config, view, list(rows), None)
            record.multi()
            record.hset(name, FIELD, until)
            try:
                record.execute()
            except WatchError:
                return False
        return True

    def withdraw(self, config: RepoConfig) -> None:
        """Empty the record: from now on the store holds no complete publication."""
        self._get_client(config.online_store).hset(_record(config), FIELD, "")

    def reader(self, config: RepoConfig, views: Sequence[FeatureView]) -> ReadOnline:
        """Return a function that reads all views of each row's entity, raising `RedisError`."""
        if config.online_store.redis_type == redis.RedisType.redis:
            # A client of its own: writers keep a longer timeout.
            online = config.online_store
            self._client = redis_client(online.connection_string, online.seconds)
        project = config.project.encode()
        serializers = [key_serializer(config, view) for view in views]
        names = [[field.name for field in view.features] for view in views]
        # The fields of an entity's hash: its event time, then its features.
        titles = [redis._versioned_fv_name(view, config) for view in views]
        fields = [
            [f"_ts:{title}", *(redis._mmh3(f"{title}:{name}") for name in columns)]
            for title, columns in zip(titles, names, strict=True)
        ]

        def read(
            rows: Sequence[Mapping[str, Any]],
        ) -> tuple[str, list[list[StoredValues]]] | None:
            keys_by_view = [[key + project for key in serialize(rows)] for serialize in serializers]
            # Views of one entity share its hash: one command for all of them.
            commands: dict[bytes, list[Any]] = {_record(config).encode(): [FIELD]}
            for keys, of_view in zip(keys_by_view, fields, strict=True):
                for key in dict.fromkeys(keys):
                    commands.setdefault(key, []).extend(of_view)
            replies = self._read_hash_fields(config, list(commands.items()))
            if not replies[0][0]:
                return None
            stored = {
                key: dict(zip(commands[key], reply, strict=True))
                for key, reply in zip(commands, replies, strict=True)
            }
            values = [
                [_decode([stored[key][field] for field in of_view], columns) for key in keys]
                for keys, of_view, columns in zip(keys_by_view, fields, names, strict=True)
            ]
            return replies[0][0].decode(), values

        return read


def _record(config: RepoConfig) -> str:
    return f"{RECORD} {config.project}"


def _decode(reply: Sequence[bytes | None], names: list[str]) -> StoredValues:
    if reply[0] is None:
        return NO_VALUES
    event_time = Timestamp()
    event_time.ParseFromString(reply[0])
    values = {
        name: decode_value(value)
        for name, value in zip(names, reply[1:], strict=True)
        if value is not None
    }
    return StoredValues(values, event_time.seconds + event_time.nanos / 1e9)
