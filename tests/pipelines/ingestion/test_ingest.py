"""Every due batch is fetched once, and a later failure leaves stored batches unchanged."""

import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from features import partitions
from pipelines.ingestion import ingest
from settings import LoopError, Settings, UserError
from tests.use_case import PARAMS_FILE, USE_CASE

ROOT = Path(__file__).resolve().parents[3]
LAST = list(USE_CASE.feeds)[-1]


@pytest.fixture
def settings(tmp_path) -> Settings:
    settings = Settings(home=tmp_path)
    settings.params_file.parent.mkdir(parents=True)
    shutil.copy(PARAMS_FILE, settings.params_file)
    return settings


def first_day(settings: Settings) -> date:
    return date.fromisoformat(settings.params()["first_day"])


def after(settings: Settings, n_days: int, hours: int = 0) -> datetime:
    start = datetime.combine(first_day(settings), datetime.min.time(), UTC)
    return start + timedelta(days=n_days, hours=hours)


def files(settings: Settings) -> dict[str, bytes]:
    paths = (path for path in settings.data.rglob("*.parquet"))
    return {str(path.relative_to(settings.data)): path.read_bytes() for path in paths}


def fails_on(monkeypatch, feed: str, day: date, error: Exception) -> None:
    """Make the source raise for one day: the only part here that cannot run for real."""
    fetch = USE_CASE.fetch

    def broken(requested: str, on: date) -> pd.DataFrame:
        if (requested, on) == (feed, day):
            raise error
        return fetch(requested, on)

    monkeypatch.setattr(USE_CASE, "fetch", broken)


def test_stores_whole_days_only(settings):
    # 17 hours into the fourth day, three days are over.
    stored = ingest.fetch_due_batches(settings, after(settings, 3, hours=17))
    expected = {
        f"{feed}/{day}"
        for feed in USE_CASE.feeds
        for day in partitions.day_range(first_day(settings), first_day(settings) + timedelta(3))
        if USE_CASE.due(feed, day)
    }
    assert set(stored) == expected
    assert set(files(settings)) == {f"raw/{name}.parquet" for name in expected}


def test_days_are_utc_in_any_zone_of_as_of(settings):
    early = after(settings, 1).astimezone(tz=datetime.strptime("-0500", "%z").tzinfo)
    stored = ingest.fetch_due_batches(settings, early)
    assert {name.split("/")[1] for name in stored} == {str(first_day(settings))}


@pytest.mark.parametrize("feed", USE_CASE.feeds)
def test_stores_the_rows_of_the_source(settings, feed):
    ingest.fetch_due_batches(settings, after(settings, 1))
    day = first_day(settings)
    stored = partitions.read_partition(partitions.partition_path(settings.data, "raw", feed, day))
    assert stored.equals(pa.Table.from_pandas(USE_CASE.fetch(feed, day), preserve_index=False))


def test_stored_batches_are_not_fetched_again(settings, monkeypatch):
    ingest.fetch_due_batches(settings, after(settings, 2))
    before = files(settings)
    for feed in USE_CASE.feeds:
        fails_on(monkeypatch, feed, first_day(settings), AssertionError("fetched again"))
    assert ingest.fetch_due_batches(settings, after(settings, 2)) == []
    assert files(settings) == before


def test_incremental_gives_the_bytes_of_full(settings, tmp_path):
    for n_days in (1, 2, 5):
        ingest.fetch_due_batches(settings, after(settings, n_days))
    full = Settings(home=tmp_path, workspace=tmp_path / "full")
    shutil.copytree(tmp_path / "usecases", tmp_path / "full" / "usecases")
    ingest.fetch_due_batches(full, after(settings, 5))
    assert files(full) == files(settings)


@pytest.mark.parametrize("error", [LookupError("no such day"), OSError("no route to host")])
def test_a_failing_feed_is_named_and_the_others_are_stored(settings, monkeypatch, error):
    day = first_day(settings) + timedelta(days=1)
    with monkeypatch.context() as outage:
        fails_on(outage, LAST, day, error)
        with pytest.raises(LoopError, match=f"{LAST} .*{day}.*{error}") as caught:
            ingest.fetch_due_batches(settings, after(settings, 4))
    assert caught.value.__cause__ is error
    assert "mlops ingest" in str(caught.value)
    assert partitions.partition_days(settings.data, "raw", LAST) == [first_day(settings)]  # no gap
    assert len(partitions.partition_days(settings.data, "raw", list(USE_CASE.feeds)[1])) == 4
    before = files(settings)
    stored = ingest.fetch_due_batches(settings, after(settings, 4))
    assert stored == [f"{LAST}/{day + timedelta(days=more)}" for more in range(3)]
    assert before.items() <= files(settings).items()


def test_a_batch_that_cannot_be_stored_is_named(settings, monkeypatch):
    mixed = USE_CASE.fetch(LAST, first_day(settings)).astype(object)
    mixed.iloc[0, 0] = 1.5
    monkeypatch.setattr(USE_CASE, "fetch", lambda feed, day: mixed)
    with pytest.raises(LoopError, match=f"{LAST} .*{first_day(settings)}"):
        ingest.fetch_due_batches(settings, after(settings, 1))
    assert not files(settings)


def test_rows_of_another_day_are_stored_for_validation(settings, monkeypatch):
    moved = USE_CASE.fetch(LAST, first_day(settings))
    moved.loc[0, "known_at"] += timedelta(days=3)
    moved.loc[1, "known_at"] = pd.NaT
    fetch = USE_CASE.fetch
    monkeypatch.setattr(
        USE_CASE, "fetch", lambda feed, d: moved if feed == LAST else fetch(feed, d)
    )
    ingest.fetch_due_batches(settings, after(settings, 1))
    stored = partitions.read_days(settings.data, "raw", LAST, date.min, date.max)
    pd.testing.assert_frame_equal(stored, moved)


def test_an_invalid_first_day_is_a_user_error(settings):
    text = settings.params_file.read_text().replace(settings.params()["first_day"], "someday")
    settings.params_file.write_text(text)
    with pytest.raises(UserError, match="first_day"):
        ingest.fetch_due_batches(settings, datetime(2030, 1, 1, tzinfo=UTC))


def test_the_stage_takes_as_of_from_the_parameters(settings):
    text = settings.params_file.read_text()
    as_of = settings.params()["as_of"]
    settings.params_file.write_text(text.replace(as_of, after(settings, 2).isoformat()))
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.ingestion.ingest"],
        cwd=ROOT, env={"MLOPS_HOME": str(settings.home), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    n_files = len(files(settings))
    assert run.stdout == f"{n_files} new batches\n"
    assert n_files > 2


def test_a_column_without_values_has_its_declared_type(settings, monkeypatch):
    """SQL and JSON sources return such columns."""
    numbers = {
        feed: [field.name for field in USE_CASE.schema(feed) if field.type == pa.float64()]
        for feed in USE_CASE.feeds
    }
    fetch = USE_CASE.fetch
    monkeypatch.setattr(
        USE_CASE, "fetch", lambda feed, day: fetch(feed, day).assign(**dict.fromkeys(numbers[feed]))
    )
    ingest.fetch_due_batches(settings, after(settings, 1))
    for feed in USE_CASE.feeds:
        stored = partitions.read_partition(
            partitions.partition_path(settings.data, "raw", feed, first_day(settings))
        )
        assert stored.schema == USE_CASE.schema(feed)
    assert any(numbers.values())


def changed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.iloc[1:].reset_index(drop=True)


def kept(settings: Settings) -> list[Path]:
    return sorted((settings.data / "replaced").rglob("*.parquet"))


def test_a_requested_day_is_fetched_again_and_its_old_rows_are_kept(settings, monkeypatch):
    ingest.fetch_due_batches(settings, after(settings, 3))
    day = first_day(settings) + timedelta(days=1)
    target = partitions.partition_path(settings.data, "raw", LAST, day)
    before = target.read_bytes()
    assert ingest.fetch_due_batches(settings, after(settings, 3), again=[f"{LAST}/{day}"]) == []
    assert not kept(settings)  # the same rows replace nothing

    fetch = USE_CASE.fetch
    monkeypatch.setattr(USE_CASE, "fetch", lambda feed, on: changed(fetch(feed, on)))
    assert ingest.fetch_due_batches(settings, after(settings, 3), again=[f"{LAST}/{day}"]) == [
        f"{LAST}/{day}"
    ]
    assert partitions.read_partition(target).num_rows == len(fetch(LAST, day)) - 1
    (old,) = kept(settings)
    assert old.read_bytes() == before
    stamp = datetime.strptime(old.parents[2].name, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - stamp) < timedelta(minutes=5)
    assert old.relative_to(old.parents[2]) == Path("raw", LAST, target.name)


def test_days_restated_by_the_source_are_fetched_again(settings, monkeypatch):
    ingest.fetch_due_batches(settings, after(settings, 3))
    day = first_day(settings) + timedelta(days=1)
    fetch = USE_CASE.fetch
    monkeypatch.setattr(USE_CASE, "fetch", lambda feed, on: changed(fetch(feed, on)))
    monkeypatch.setattr(USE_CASE, "restated", lambda feed, as_of: [day] if feed == LAST else [])
    assert ingest.fetch_due_batches(settings, after(settings, 3)) == [f"{LAST}/{day}"]
    # A training works on a frozen copy.
    frozen = Settings(home=settings.home, workspace=settings.home)
    monkeypatch.setattr(USE_CASE, "fetch", fetch)
    assert ingest.fetch_due_batches(frozen, after(settings, 3)) == []


def test_a_failed_second_fetch_keeps_the_stored_day(settings, monkeypatch):
    ingest.fetch_due_batches(settings, after(settings, 2))
    before = files(settings)
    fails_on(monkeypatch, LAST, first_day(settings), OSError("no route to host"))
    with pytest.raises(LoopError, match="no route to host"):
        ingest.fetch_due_batches(
            settings, after(settings, 3), again=[f"{LAST}/{first_day(settings)}"]
        )
    assert before.items() <= files(settings).items()
    assert (
        len(partitions.partition_days(settings.data, "raw", LAST)) == 3
    )  # no gap: later days continue


@pytest.mark.parametrize("requested", ["nothing", "nobody/2013-01-01", f"{LAST}/2013-02-30"])
def test_a_batch_that_is_not_due_is_a_user_error(settings, requested):
    with pytest.raises(UserError, match=f"{requested} is due before .*--again FEED/YYYY-MM-DD"):
        ingest.fetch_due_batches(settings, after(settings, 3), again=[requested])
    assert not files(settings)
