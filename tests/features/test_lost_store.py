"""Readers detect a lost online store, and the next publication rebuilds it."""

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from features import partitions
from features.online_publisher import Publisher, publish_features
from features.online_reader import IncompleteError, OnlineReader, OnlineRow
from features.publication_record import published_until
from features.table_builder import build_tables
from serving.lookup import FeatureLookup
from settings import LoopError, Settings, UnreachableError
from tests.serving.in_process import shared_metrics
from tests.use_case import PARAMS_FILE, USE_CASE

FIRST, END = date(2013, 1, 1), datetime(2013, 1, 4, tzinfo=UTC)
STACK_OPTIONS = ",socket_timeout=1,socket_connect_timeout=1,retry=null"
STORES = ["sqlite", pytest.param("redis", marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a home with the first days, its SQLite online store published up to `END`."""
    settings = Settings(home=tmp_path_factory.mktemp("template"))
    for feed in USE_CASE.feeds:
        for day in partitions.day_range(FIRST, END.date()):
            if USE_CASE.due(feed, day):
                target = partitions.partition_path(settings.data, "validated", feed, day)
                partitions.write_partition(USE_CASE.fetch(feed, day), target)
    build_tables(settings, FIRST, END, timedelta(minutes=2))
    settings.params_file.parent.mkdir(parents=True)
    shutil.copy(PARAMS_FILE, settings.params_file)
    with pytest.MonkeyPatch.context() as patched:
        use_home(settings, patched)
        publish_features(settings, END)
    return settings.home


def use_home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of Feast's configuration and the working folder to this home."""
    for name in ("MLOPS_FEAST_REGISTRY", "MLOPS_FEAST_ONLINE"):
        monkeypatch.setenv(name, settings.environment()[name])
    monkeypatch.chdir(settings.root)


@pytest.fixture
def home(
    request: pytest.FixtureRequest, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Return a copy of `template`, with Redis if the test's parameter says so."""
    shutil.copytree(template, tmp_path / "home")
    if getattr(request, "param", "sqlite") == "redis":
        address = request.getfixturevalue("redis") + STACK_OPTIONS
        settings = Settings(home=tmp_path / "home", redis=address)
        lose(settings)  # of another test
    else:
        settings = Settings(home=tmp_path / "home")
    use_home(settings, monkeypatch)
    publish_features(settings, END)
    return settings


@pytest.fixture
def cases(home: Settings) -> tuple[list[dict[Any, Any]], list[datetime]]:
    found = USE_CASE.spine(
        partitions.read_days(home.data, "validated", USE_CASE.spine_feed, FIRST, END.date())
    ).tail(50)
    return found.to_dict("records"), [END] * len(found)


def redis_of(settings: Settings) -> Redis:
    assert settings.redis
    host, port = settings.redis.removesuffix(STACK_OPTIONS).split(":")
    return Redis(host, int(port))


def lose(settings: Settings) -> None:
    if settings.redis:
        with redis_of(settings) as client:
            client.flushall()
    else:
        settings.online_file.unlink()  # its side files remain


def lookup_rows(lookup: FeatureLookup, cases: tuple[Any, Any]) -> tuple[list[OnlineRow], bool]:
    lookup._paused_until = 0.0
    return lookup.read(*cases)


def count_fallbacks(reason: str) -> float:
    return shared_metrics().lookups.labels("fallback", reason)._value.get()  # type: ignore[no-any-return]


@pytest.mark.parametrize("home", STORES, indirect=True)
def test_a_lost_store_is_detected_and_rebuilt(home: Settings, cases: tuple[Any, Any]) -> None:
    lookup = FeatureLookup(OnlineReader(home), shared_metrics())  # opened before the loss
    before, degraded = lookup_rows(lookup, cases)
    assert not degraded
    assert all(row.as_of is not None for row in before)

    lose(home)
    assert published_until(home) is None
    before_loss = count_fallbacks("incomplete")
    without, degraded = lookup_rows(lookup, cases)
    assert degraded
    assert {row.as_of for row in without} == {None}
    assert count_fallbacks("incomplete") == before_loss + len(without)

    publish_features(home, END)
    assert published_until(home) == END
    assert lookup_rows(lookup, cases) == (before, False)
    assert lookup_rows(FeatureLookup(OnlineReader(home), shared_metrics()), cases) == (
        before,
        False,
    )


def test_a_span_without_rows_is_published_at_once(home: Settings) -> None:
    later = END + timedelta(seconds=1)
    publisher = Publisher(home, END, later)
    assert publisher.moments(later) == []
    publisher.step(later)
    assert published_until(home) == later


@pytest.mark.parametrize("home", STORES, indirect=True)
def test_a_loss_during_a_publication_is_not_recorded(home: Settings) -> None:
    publish_features(home, END - timedelta(hours=6))
    publisher = Publisher(home, END - timedelta(hours=6), END)
    publisher.step(END - timedelta(hours=3))
    lose(home)
    with pytest.raises(LoopError, match="no longer holds"):
        publisher.step(END)
    assert published_until(home) is None


@pytest.mark.parametrize("home", STORES, indirect=True)
def test_a_store_that_is_being_rebuilt_holds_no_publication(
    home: Settings, cases: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = FeatureLookup(OnlineReader(home), shared_metrics())
    before = lookup_rows(lookup, cases)

    def killed(self: Publisher, until: datetime) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "step", killed)  # all rows but the last are stored
        with pytest.raises(KeyboardInterrupt):
            publish_features(home, END - timedelta(days=2))
    assert published_until(home) is None
    assert lookup_rows(lookup, cases)[1]
    publish_features(home, END)
    assert lookup_rows(lookup, cases) == before


def test_a_store_of_version_0_1_is_rebuilt(home: Settings, cases: tuple[Any, Any]) -> None:
    before = OnlineReader(home).read(*cases)
    lose(home)
    marker = home.state / "feast" / "published"
    marker.write_text(END.isoformat())
    assert published_until(home) is None
    publish_features(home, END)
    assert not marker.exists()
    assert OnlineReader(home).read(*cases) == before


def test_an_empty_file_counts_as_no_store(home: Settings, cases: tuple[Any, Any]) -> None:
    reader = OnlineReader(home)
    before = reader.read(*cases)
    home.online_file.write_bytes(b"")
    assert published_until(home) is None
    with pytest.raises(IncompleteError):
        OnlineReader(home).read(*cases)
    publish_features(home, END)
    assert published_until(home) == END
    assert reader.read(*cases) == before


def test_a_lost_registry_is_recreated(home: Settings) -> None:
    for file in (home.state / "feast").glob("registry.db*"):
        file.unlink()
    publish_features(home, END + timedelta(hours=1))
    assert published_until(home) == END + timedelta(hours=1)


def fill(client: Redis) -> None:
    client.config_set("maxmemory", 1)


def demote(client: Redis) -> None:
    client.replicaof("127.0.0.1", 1)


@pytest.mark.long
@pytest.mark.parametrize("home", ["redis"], indirect=True)
@pytest.mark.parametrize("as_of", [END + timedelta(hours=6), END + timedelta(days=2)])
@pytest.mark.parametrize(
    ("refuse", "reason"), [(fill, "OutOfMemoryError"), (demote, "ReadOnlyError")]
)
def test_a_redis_that_refuses_writes_is_named_and_continues_later(
    home: Settings, refuse: Callable[[Redis], None], reason: str, as_of: datetime
) -> None:
    with redis_of(home) as client:
        refuse(client)
        try:
            with pytest.raises(UnreachableError, match=f"refuses a write .{reason}") as refused:
                publish_features(home, as_of)
        finally:
            client.replicaof("NO", "ONE")
            client.config_set("maxmemory", 0)
    assert "\\x" not in str(refused.value)
    assert str(refused.value).isprintable(), "without the bytes of the command"
    assert published_until(home) == END
    publish_features(home, as_of)
    assert published_until(home) == as_of


def damaged(settings: Settings) -> Settings:
    settings.online_file.parent.mkdir(parents=True, exist_ok=True)
    settings.online_file.write_bytes(b"no database " * 1000)
    return settings


def unreachable(settings: Settings) -> Settings:
    return Settings(home=settings.home, redis="127.0.0.1:1" + STACK_OPTIONS)


@pytest.mark.parametrize("broken", [damaged, unreachable])
def test_an_unreachable_store_does_not_count_as_lost(
    broken: Callable[[Settings], Settings], tmp_path: Path
) -> None:
    (tmp_path / "var" / "feast").mkdir(parents=True)
    with pytest.raises(UnreachableError, match="mlops features"):
        published_until(broken(Settings(home=tmp_path)))
