"""Feast's online store in Redis, asked once for all views of an entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.online_stores import redis
from google.protobuf.timestamp_pb2 import Timestamp
from redis.exceptions import WatchError

from features.online_values import (
    NO_VALUES,
    EntityKeys,
    ReadOnline,
    RowsToWrite,
    StoredValues,
    decode_value,
)
from features.publication_record import FIELD, RECORD, redis_client


class LeanRedisOnlineStoreConfig(redis.RedisOnlineStoreConfig):
    type: Literal["features.redis_store.LeanRedisOnlineStore"] = (
        "features.redis_store.LeanRedisOnlineStore"
    )
    seconds: float = 1.0  # that a reader waits for an answer


class LeanRedisOnlineStore(redis.RedisOnlineStore):
    """Feast's store in Redis, which asks once for all views of an entity."""

    def write_views(
        self, config: RepoConfig, batches: Sequence[tuple[FeatureView, RowsToWrite]], stood: str,
        until: str,
    ) -> bool:  # fmt: skip
        """`online_write_batch` for each view; then move the record from `stood` to `until`.

        Returns False, and leaves the record, if it is not `stood` or changed meanwhile.
        """
        with self._get_client(config.online_store).pipeline() as record:
            record.watch(RECORD)
            if record.hget(RECORD, FIELD) != stood.encode():
                return False
            for view, rows in batches:
                self.online_write_batch(config, view, list(rows), None)
            record.multi()
            record.hset(RECORD, FIELD, until)
            try:
                record.execute()
            except WatchError:
                return False
        return True

    def withdraw(self, config: RepoConfig) -> None:
        """Empty the record: the store holds no complete publication from now on."""
        self._get_client(config.online_store).hset(RECORD, FIELD, "")

    def reader(self, config: RepoConfig, views: Sequence[FeatureView]) -> ReadOnline:
        """Reads what each view holds of each row's entity. Raises RedisError."""
        if config.online_store.redis_type == redis.RedisType.redis:
            # Who writes may take longer than who reads.
            online = config.online_store
            self._client = redis_client(online.connection_string, online.seconds)
        project = config.project.encode()
        keys_of = [EntityKeys(config, view) for view in views]
        names = [[field.name for field in view.features] for view in views]
        fields = [_fields(config, view) for view in views]

        def read(rows: Sequence[Mapping[str, Any]]) -> list[list[StoredValues]] | None:
            # Views of one entity share its hash: one command for all of them.
            commands: dict[bytes, list[Any]] = {RECORD.encode(): [FIELD]}
            asked = []
            for keys, of_view in zip(keys_of, fields, strict=True):
                of_rows = [key + project for key in keys.of(rows)]
                starts = {}
                for key in dict.fromkeys(of_rows):
                    wanted = commands.setdefault(key, [])
                    starts[key] = len(wanted)
                    wanted += of_view
                asked.append([(key, starts[key]) for key in of_rows])
            replies = self._read_hash_fields(config, list(commands.items()))
            if not replies[0][0]:
                return None
            reply_of = dict(zip(commands, replies, strict=True))
            return [
                [_found(reply_of[key][start : start + len(columns) + 1], columns)
                 for key, start in spans]
                for spans, columns in zip(asked, names, strict=True)
            ]  # fmt: skip

        return read


def _fields(config: RepoConfig, view: FeatureView) -> list[Any]:
    """Of an entity's hash: the fields with the view's event time and its features."""
    stored = redis._versioned_fv_name(view, config)
    return [f"_ts:{stored}", *(redis._mmh3(f"{stored}:{field.name}") for field in view.features)]


def _found(reply: Sequence[bytes | None], names: list[str]) -> StoredValues:
    if reply[0] is None:
        return NO_VALUES
    at = Timestamp()
    at.ParseFromString(reply[0])
    values = {
        name: decode_value(value)
        for name, value in zip(names, reply[1:], strict=True)
        if value is not None
    }
    return StoredValues(values, at.seconds + at.nanos / 1e9)
