"""The ASOF JOIN store agrees with Feast's duckdb store, and with the definition of the join."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    ValueType,
)
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.asof_store import AsofOfflineStore

# ibis 12, through which Feast reads and writes, calls a method that DuckDB 1.5 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

OURS, STOCK = "features.asof_store.AsofOfflineStore", "duckdb"
T0 = pd.Timestamp("2013-03-01", tz="UTC")
SITE = Entity(name="site", join_keys=["site"], value_type=ValueType.STRING)
GATE = Entity(name="gate", join_keys=["gate"], value_type=ValueType.INT64)
KEYS = [Field(name="site", dtype=String), Field(name="gate", dtype=Int64)]
Open = Callable[..., FeatureStore]


@pytest.fixture
def open_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Return a function that opens a store of a kind on this test's registry, in its folder."""
    monkeypatch.chdir(tmp_path)

    def store(*objects: Any, kind: str = OURS) -> FeatureStore:
        opened = FeatureStore(
            config=RepoConfig(
                project="test", provider="local", registry=str(tmp_path / "registry.db"),
                online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
                offline_store={"type": kind}, entity_key_serialization_version=3,
            )
        )  # fmt: skip
        if objects:
            opened.apply([SITE, GATE, *objects])
        return opened

    return store


def at(hours: Any) -> Any:
    """Return the time `hours` after the start, in microseconds, as the project stores it."""
    given = np.asarray(hours, dtype="float64")
    # pandas rounds the arbitrary bytes of a NaN, and warns.
    times = pd.to_timedelta(np.nan_to_num(given), unit="h") + T0
    times = times.where(~np.isnan(given)) if given.ndim else times
    return times.as_unit("us")


def write(frame: pd.DataFrame, table: str, n_files: int = 1) -> None:
    """Write a table as partitions whose rows have no useful order."""
    Path(table).mkdir(exist_ok=True)
    for i in range(n_files):
        frame.iloc[i::n_files].to_parquet(f"{table}/{i}.parquet", index=False)


def view(
    name: str, features: list[Field], entities: list[Entity], ttl: timedelta | None = None,
    created: str = "created", **source: Any,
) -> FeatureView:  # fmt: skip
    keys = [key for key in KEYS if key.name in {entity.name for entity in entities}]
    return FeatureView(
        name=name, entities=entities, ttl=ttl, schema=[*keys, *features],
        source=FileSource(
            name=f"{name}_source", timestamp_field="event_timestamp",
            created_timestamp_column=created, **{"path": f"{name}/*.parquet", **source},
        ),
    )  # fmt: skip


DELAY = Field(name="delay", dtype=Float64)
delays = view("delays", [DELAY], [SITE], timedelta(hours=2))


def delay_rows(*rows: tuple[float, float | None, float], site: str = "S1") -> pd.DataFrame:
    """Return rows of (event, created, delay), with times in hours."""
    event, created, delay = zip(*rows, strict=True)
    return pd.DataFrame(
        {"site": site, "event_timestamp": at(event), "created": at(created), "delay": delay}
    )


def delays_at(store: FeatureStore, hours: list[float], filtered: bool = True) -> list[float | None]:
    """Return the delay at S1 as read at each of the given hours."""
    cases = pd.DataFrame({"site": "S1", "event_timestamp": at(hours)})
    job = store.get_historical_features(
        cases, ["delays:delay"], filter_by_created_timestamp=filtered
    )
    return list(job.to_arrow()["delay"].to_pylist())


# Against the stock store, on tables with every known irregularity.


def messy(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Return rows with null keys, missing values, ties, corrections, repeats, and late publishing.

    For rows with the same keys, event and creation, the stock store returns any; here they are
    equal.
    """
    hour = rng.integers(0, 48, n) + rng.choice([0.0, 0.5], n)
    lag = rng.choice([-1.0, 0.0, 0.25, 1.0, 30.0, np.nan], n) + rng.integers(0, 4, n)
    rows = pd.DataFrame({
        "site": rng.choice(np.array(["S1", "S2", "S3", None], dtype=object), n),
        "gate": pd.array(rng.integers(1, 4, n), "Int64"),
        "event_timestamp": at(hour), "created": at(hour + lag),
        "delay": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        "count": pd.array(rng.integers(0, 9, n), "Int64"),
        "sky": rng.choice(np.array(["clear", "fog", None], dtype=object), n),
    })  # fmt: skip
    rows.loc[rng.random(n) < 0.05, ["gate", "count"]] = pd.NA
    rows = rows.drop_duplicates(["site", "gate", "event_timestamp", "created"])
    return pd.concat([rows, rows.sample(frac=0.1, random_state=0)])


def messy_cases(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return pd.DataFrame({
        "site": rng.choice(np.array(["S1", "S2", "S9", None], dtype=object), n),
        "other": rng.choice(np.array(["S1", "S3", None], dtype=object), n),
        "gate": rng.choice([1.0, 2.0, 3.0, np.nan], n),
        "event_timestamp": at(rng.integers(-2, 60, n) + rng.choice([0.0, 0.5, 0.25], n)),
        "case": np.arange(n), "label": rng.choice([0.0, 1.0, np.nan], n),
    })  # fmt: skip


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_cell_equals_the_stock_store(open_store: Open, seed: int, filtered: bool) -> None:
    rng = np.random.default_rng(seed)
    by_gate = messy(rng, 1500)
    write(by_gate.drop_duplicates(["site", "event_timestamp", "created"]), "delays", 3)
    write(by_gate.rename(columns={"delay": "dly", "event_timestamp": "ts"}), "gates", 2)
    naive = by_gate.assign(event_timestamp=by_gate["event_timestamp"].dt.tz_localize(None))
    write(naive.drop_duplicates(["site", "event_timestamp"]).drop(columns="created"), "skies")
    fields = [DELAY, Field(name="count", dtype=Int64)]
    mapping = {"dly": "delay", "ts": "event_timestamp", "absent": "nothing"}
    gates = view("gates", fields, [SITE, GATE], field_mapping=mapping)
    skies = view("skies", [Field(name="sky", dtype=String)], [SITE], timedelta(hours=6), "")
    # Feast cannot compare services that hold a view both plain and under another name.
    here = delays.with_name("here").with_join_key_map({"site": "site"})
    elsewhere = delays.with_name("elsewhere").with_join_key_map({"site": "other"})
    service = FeatureService(name="all", features=[here, gates, skies, elsewhere])
    ours = open_store(delays, gates, skies, service)
    stock = open_store(kind=STOCK)
    assert type(ours._get_provider().offline_store) is AsofOfflineStore
    assert type(stock._get_provider().offline_store) is DuckDBOfflineStore

    cases = messy_cases(rng, 400)
    answers = [
        store.get_historical_features(
            cases.copy(), service, full_feature_names=True, filter_by_created_timestamp=filtered
        ).to_arrow()
        for store in (ours, stock)
    ]
    assert answers[0]["case"].to_pylist() == list(range(400))  # in the order of the cases
    expected = answers[1].sort_by("case")
    assert answers[0].schema == expected.schema
    # Compared as text, in which null and NaN differ, and NaN equals itself.
    for row, expected_row in zip(answers[0].to_pylist(), expected.to_pylist(), strict=True):
        assert str(row) == str(expected_row)
    filled = answers[0].to_pandas().iloc[:, 6:].notna().mean()
    assert filled.between(0.05, 0.95).all(), "the comparison needs present and missing answers"


# Against the definition, row by row.

HOURS = st.integers(0, 5)
ROWS = st.lists(st.tuples(HOURS, st.none() | HOURS), max_size=8, unique=True)


@given(rows=ROWS, ttl=st.sampled_from([None, 0, 1, 3]), filtered=st.booleans())
@settings(
    max_examples=30, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_any_history_follows_the_definition(
    open_store: Open, rows: list[tuple[int, int | None]], ttl: int | None, filtered: bool
) -> None:
    def visible_best(when: float) -> float | None:
        best = max(
            (
                (event, -1 if created is None else created, float(i))
                for i, (event, created) in enumerate(rows)
                if event <= when
                and (not ttl or when <= event + ttl)
                and (not filtered or (created is not None and created <= when))
            ),
            default=None,
        )
        return best[2] if best else None

    store = open_store()
    history = [(event, created, float(i)) for i, (event, created) in enumerate(rows)]
    write(delay_rows(*history) if rows else delay_rows((0, 0, 0.0)).iloc[:0], "delays")
    expiring = view("delays", [DELAY], [SITE], timedelta(hours=ttl) if ttl is not None else None)
    when = [h / 2 for h in range(-1, 13)]
    cases = pd.DataFrame({"site": "S1", "event_timestamp": at(when)})
    answer = AsofOfflineStore.get_historical_features(
        store.config, [expiring], ["delays:delay"], cases, store.registry, "test",
        filter_by_created_timestamp=filtered,
    ).to_arrow()  # fmt: skip
    assert answer["delay"].to_pylist() == [visible_best(hour) for hour in when]


def test_a_row_lives_until_its_ttl_and_not_longer(open_store: Open) -> None:
    store = open_store(delays)
    write(delay_rows((10, 10, 1.0)), "delays")
    microsecond = 1 / 3.6e9
    edges = [10 - microsecond, 10, 12, 12 + microsecond]
    assert delays_at(store, edges) == [None, 1.0, 1.0, None]
    assert delays_at(open_store(kind=STOCK), [10, 12]) == [1.0, 1.0]


def test_a_row_created_late_hides_no_earlier_one(open_store: Open) -> None:
    store = open_store(delays)
    write(delay_rows((10, 10, 1.0), (11, 11.75, 2.0)), "delays", n_files=2)
    assert delays_at(store, [11.5, 11.75]) == [1.0, 2.0]
    assert delays_at(store, [11.5], filtered=False) == [2.0]


def test_a_row_created_late_does_not_replace_a_later_event(open_store: Open) -> None:
    store = open_store(delays)
    write(delay_rows((10, 11.5, 1.0), (11, 11, 2.0)), "delays")
    assert delays_at(store, [11, 11.5, 12]) == [2.0, 2.0, 2.0]


def test_a_correction_is_seen_from_its_creation_on(open_store: Open) -> None:
    store = open_store(delays)
    write(delay_rows((10, 10, 1.0), (10, 11, 2.0)), "delays", n_files=2)
    assert delays_at(store, [10, 10.5, 11]) == [1.0, 1.0, 2.0]
    assert delays_at(store, [10], filtered=False) == [2.0]


# The returned frame.


def test_the_frame_of_cases_is_unchanged(open_store: Open) -> None:
    store = open_store(delays)
    write(delay_rows((10, 10, 1.0)), "delays")
    cases = pd.DataFrame({
        "id": [3, 1, 2], "site": ["S1", None, "S1"], "note": ["a", None, "c"],
        "event_timestamp": ["2013-03-01T11:00:00Z", "2013-03-01T11:00:00Z", None],
        "tags": [[1], [], None],
    })  # fmt: skip
    before = cases.copy(deep=True)
    answer = store.get_historical_features(cases, ["delays:delay"]).to_arrow()
    pd.testing.assert_frame_equal(cases, before)
    assert answer.column_names == [*cases.columns, "delay"]
    assert answer["id"].to_pylist() == [3, 1, 2]
    assert answer["note"].to_pylist() == ["a", None, "c"]
    assert answer["tags"].to_pylist() == [[1], [], None]
    assert answer["delay"].to_pylist() == [1.0, None, None]


def test_no_cases_give_no_rows(open_store: Open) -> None:
    write(delay_rows((10, 10, 1.0)), "delays")
    assert delays_at(open_store(delays), []) == []


TWICE = [Field(name="twice", dtype=Float64)]


# Feast stores the source of these two, so they have no annotations and use no other names.
@on_demand_feature_view(name="doubled", sources=[delays], schema=TWICE, mode="python")
def twice_of_lists(inputs):  # type: ignore[no-untyped-def]
    return {"twice": [None if delay is None else delay * 2 for delay in inputs["delay"]]}


@on_demand_feature_view(name="doubled", sources=[delays], schema=TWICE, mode="pandas")
def twice_of_frame(inputs):  # type: ignore[no-untyped-def]
    return (inputs[["delay"]] * 2).rename(columns={"delay": "twice"})


@pytest.mark.filterwarnings("ignore:On demand feature view:RuntimeWarning")
@pytest.mark.parametrize("full_names", [False, True])
@pytest.mark.parametrize("on_demand", [twice_of_lists, twice_of_frame], ids=["python", "pandas"])
def test_on_demand_views_follow_the_join(
    open_store: Open, on_demand: Any, full_names: bool
) -> None:
    ours, stock = open_store(delays, on_demand), open_store(kind=STOCK)
    write(delay_rows((10, 10, 1.5)), "delays")
    cases = pd.DataFrame({"site": ["S1", "S2"], "event_timestamp": at([11, 11])})
    asked = ["delays:delay", "doubled:twice"]
    frames = [
        store.get_historical_features(cases, asked, full_feature_names=full_names)
        .to_df()
        .sort_values("site", ignore_index=True)
        for store in (ours, stock)
    ]
    pd.testing.assert_frame_equal(*frames)
    name = "doubled__twice" if full_names else "twice"
    assert frames[0][name].tolist() == pytest.approx([3.0, np.nan], nan_ok=True)


def test_a_view_without_entities_joins_on_time_alone(open_store: Open) -> None:
    store = open_store(view("delays", [DELAY], []))
    write(delay_rows((10, 10, 1.0), (11, 11, 2.0)), "delays")
    assert delays_at(store, [9, 10, 12]) == [None, 1.0, 2.0]


def test_other_methods_are_inherited(open_store: Open) -> None:
    store = open_store(delays)
    write(delay_rows((10, 10, 1.0), (10, 11, 2.0)), "delays", n_files=2)
    store.materialize(at(0).to_pydatetime(), at(20).to_pydatetime())
    online = store.get_online_features(["delays:delay"], [{"site": "S1"}]).to_dict()
    assert online["delay"] == [2.0]


def test_unreadable_sources_are_refused(open_store: Open) -> None:
    store = open_store(delays, view("odd", [DELAY], [SITE], path="odd.csv"))
    write(delay_rows((10, 10, 1.0)), "delays")
    cases = pd.DataFrame({"site": ["S1"], "event_timestamp": at([11])})
    with pytest.raises(ValueError, match="not as SQL"):
        store.get_historical_features("SELECT 1", ["delays:delay"])
    with pytest.raises(ValueError, match=r"odd: .* reads Parquet"):
        store.get_historical_features(cases, ["odd:delay"])
    with pytest.raises(duckdb.BinderException, match='column named "site"'):
        store.get_historical_features(cases[["event_timestamp"]], ["delays:delay"])


# Where the stock store is wrong, the definition decides.


def test_keys_that_an_alias_omits_still_count(open_store: Open) -> None:
    gates = view("gates", [DELAY], [SITE, GATE])
    aliased = gates.with_name("there").with_join_key_map({"site": "other"})
    service = FeatureService(name="there", features=[aliased])
    rows = delay_rows((10, 10, 1.0), (11, 11, 2.0)).assign(gate=[1, 2])
    ours, stock = open_store(gates, service), open_store(kind=STOCK)
    write(rows, "gates")
    cases = pd.DataFrame({"other": ["S1"], "gate": [1], "event_timestamp": at([12])})
    found = [
        store.get_historical_features(cases, service).to_arrow()["delay"].to_pylist()
        for store in (ours, stock)
    ]
    assert found == [[1.0], [2.0]]  # the stock store joins on `site` alone and finds the other gate


def test_a_ttl_may_mix_days_and_hours(open_store: Open) -> None:
    ttl = timedelta(days=1, hours=2)
    ours, stock = open_store(view("delays", [DELAY], [SITE], ttl)), open_store(kind=STOCK)
    write(delay_rows((10, 10, 1.0)), "delays")
    assert delays_at(ours, [36, 36.5]) == [1.0, None]
    with pytest.raises(ValueError, match="mixed units"):
        delays_at(stock, [36])
