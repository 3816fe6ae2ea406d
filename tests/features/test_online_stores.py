"""The online stores read and write the same values as Feast's own stores."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.repo_config import RepoConfig
from feast.types import Bool, Float32, Float64, Int64, String

from features import publication_record, sqlite_store

AT = datetime(2013, 1, 10, 12, 0, tzinfo=UTC)
KEYS = [
    {"shop": shop, "number": number}
    for shop, number in [("north", 1), ("south", 2), ("north", 2), ("nobody", 1), ("north", 1)]
]


def views() -> list[Any]:
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
    number = Entity(name="number", join_keys=["number"], value_type=ValueType.INT64)

    def view(name: str, entities: list[Entity], *fields: Field) -> FeatureView:
        source = FileSource(
            name=f"{name}_source", path=f"{name}.parquet", timestamp_field="event_timestamp",
            created_timestamp_column="created",
        )  # fmt: skip
        return FeatureView(
            name=name, entities=entities, ttl=timedelta(hours=1), schema=list(fields), source=source
        )

    return [
        shop, number,
        view("sales", [shop], Field(name="sum", dtype=Float64), Field(name="name", dtype=String)),
        view("stock", [shop], Field(name="items", dtype=Int64), Field(name="open", dtype=Bool)),
        view("tills", [shop, number], Field(name="cash", dtype=Float32)),
    ]  # fmt: skip


def frames() -> dict[str, pd.DataFrame]:
    def frame(hours: float, **columns: list[Any]) -> pd.DataFrame:
        at = pd.Timestamp(AT) - pd.Timedelta(hours=hours)
        return pd.DataFrame(columns).assign(event_timestamp=at, created=AT)

    return {
        "sales": frame(1, shop=["north", "south"], sum=[0.1, None], name=["a", "ü"]),
        "stock": frame(2, shop=["south", "west"], items=[2**40, 0], open=[False, True]),
        "tills": frame(
            0.5, shop=["north", "north", "south"], number=[1, 2, 2], cash=[0.5, float("nan"), 3]
        ),
    }


def opened(folder: Path, online: dict[str, Any]) -> FeatureStore:
    folder.mkdir()
    return FeatureStore(
        config=RepoConfig(
            project="shops",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online,
            offline_store={"type": "duckdb"},
            repo_path=folder,
            entity_key_serialization_version=3,
        )
    )


def prepared(store: FeatureStore) -> tuple[Any, list[Any], list[Any]]:
    """Return the store's provider, its views, and for each view the rows to write."""
    provider = store._get_provider()
    registered = [store.get_feature_view(name) for name in frames()]
    convert = provider._prep_rows_to_write_for_ingestion
    return provider, registered, [(each, convert(each, frames()[each.name])) for each in registered]


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Set the time zone of this process."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"], indirect=True)
@pytest.mark.parametrize("kind", ["Sqlite", pytest.param("Redis", marks=pytest.mark.long)])
def test_one_query_returns_the_values_of_the_sdk(
    kind: str, zone: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    online: dict[str, Any] = {"type": f"features.{kind.lower()}_store.Lean{kind}OnlineStore"}
    if kind == "Redis":
        online["connection_string"] = request.getfixturevalue("redis")
    else:
        online["path"] = str(tmp_path / "lean.db")
    store = opened(tmp_path / "lean", online)
    store.apply(views())
    provider, registered, batches = prepared(store)
    provider.online_store.withdraw(store.config)
    assert provider.online_store.reader(store.config, registered)(KEYS) is None
    assert not provider.online_store.write_views(store.config, batches, "another", "1")
    assert provider.online_store.write_views(store.config, batches, "", "1")

    read = provider.online_store.reader(store.config, registered)
    names = {view.name: [field.name for field in view.features] for view in registered}
    for rows in (KEYS, KEYS[3:4], KEYS[:1]):
        until, values = read(rows)
        assert until == "1"
        found = dict(zip(names, values, strict=True))
        sdk = store.get_online_features(
            features=[f"{view}:{name}" for view in names for name in names[view]], entity_rows=rows
        ).to_dict(include_event_timestamps=True)
        for view, name in [(each, name) for each in names for name in names[each]]:
            own = [row.values.get(name) for row in found[view]]
            assert pd.Series(own, dtype=object).equals(pd.Series(sdk[name], dtype=object))
            assert [row.event_time for row in found[view]] == sdk[f"{name}__ts"]
    assert found["sales"][0].event_time == (AT - timedelta(hours=1)).timestamp()
    for view, rows in batches:  # as `materialize` writes
        provider.online_write_batch(store.config, view, rows, None)
    assert read(KEYS[:1]) == ("1", list(found.values()))
    if kind == "Sqlite" and zone == "UTC":  # in other zones Feast treats local time as UTC
        stock = opened(tmp_path / "stock", {"type": "sqlite", "path": str(tmp_path / "stock.db")})
        stock.apply(views())
        for view, rows in batches:
            stock._get_provider().online_write_batch(stock.config, view, rows, None)
        assert stored(tmp_path / "lean.db") == stored(tmp_path / "stock.db")


def stored(path: Path) -> dict[str, Any]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {
            f"shops_{name}": connection.execute(
                f"SELECT * FROM shops_{name} ORDER BY 1, 2"  # noqa: S608
            ).fetchall()
            for name in frames()
        }


def test_a_store_without_its_tables_holds_no_publication(tmp_path: Path) -> None:
    store = opened(
        tmp_path / "lean",
        {"type": "features.sqlite_store.LeanSqliteOnlineStore", "path": str(tmp_path / "a.db")},
    )
    store.apply(views())
    view = store.get_feature_view("sales")
    store._get_provider().update_infra("shops", [view], [], [], [], partial=False)
    read = store._get_provider().online_store.reader(store.config, [view])
    assert read(KEYS) is None


def test_a_build_of_sqlite_with_few_variables_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = {"type": "features.sqlite_store.LeanSqliteOnlineStore", "path": str(tmp_path / "a.db")}
    store = opened(tmp_path / "lean", online)
    store.apply(views())
    provider, registered, batches = prepared(store)
    provider.online_store.withdraw(store.config)
    assert provider.online_store.write_views(store.config, batches, "", "1")
    whole = provider.online_store.reader(store.config, registered)(KEYS)

    def connect(*arguments: Any) -> sqlite3.Connection:
        connection = publication_record.connect_read_only(*arguments)
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 3)  # one row of three views
        return connection

    monkeypatch.setattr(sqlite_store, "connect_read_only", connect)
    assert provider.online_store.reader(store.config, registered)(KEYS) == whole


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin"], indirect=True)
def test_the_repeated_hour_of_autumn_is_two_hours(zone: str, tmp_path: Path) -> None:
    # 2013-11-03 in New York, 2013-10-27 in Berlin: half past one, and half past two.
    first = datetime(2013, 11, 3, 5, 30, tzinfo=UTC)
    if zone == "Europe/Berlin":
        first = datetime(2013, 10, 27, 0, 30, tzinfo=UTC)
    times = [first, first + timedelta(hours=1)]
    store = opened(
        tmp_path / "lean",
        {"type": "features.sqlite_store.LeanSqliteOnlineStore", "path": str(tmp_path / "a.db")},
    )
    store.apply(views())
    view = store.get_feature_view("sales")
    rows = pd.DataFrame({"shop": ["north", "south"], "sum": [1.0, 2.0], "name": ["a", "b"]})
    store.write_to_online_store("sales", rows.assign(event_timestamp=times, created=AT))
    online = store._get_provider().online_store
    online.withdraw(store.config)
    assert online.write_views(store.config, [], "", "1")
    keys = [{"shop": "north"}, {"shop": "south"}]
    _, [found] = online.reader(store.config, [view])(keys)
    sdk = store.get_online_features(features=["sales:sum"], entity_rows=keys)
    expected = [at.timestamp() for at in times]
    assert [row.event_time for row in found] == expected
    assert sdk.to_dict(include_event_timestamps=True)["sum__ts"] == expected
