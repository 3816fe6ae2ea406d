"""Feature tables follow the content of their input batches."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from features import build_manifest, partitions, table_builder
from features.table_builder import build_tables, record_late_publication
from settings import LoopError, Settings
from tests.use_case import USE_CASE
from usecases.flights.feature_tables import TABLES

FIRST, DAYS = date(2013, 1, 1), 6
END = datetime(2013, 1, 1 + DAYS, tzinfo=UTC)
LAG = timedelta(minutes=2)


def build(data: Path, as_of: datetime = END) -> dict[str, int]:
    return build_tables(Settings(home=data.parents[1]), FIRST, as_of, LAG)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("template") / "data" / "flights"
    for feed in USE_CASE.feeds:
        for day in partitions.day_range(FIRST, END.date()):
            if USE_CASE.due(feed, day):
                partitions.write_partition(
                    USE_CASE.fetch(feed, day),
                    partitions.partition_path(data, "validated", feed, day),
                )
    build(data)
    return data


@pytest.fixture
def data(template: Path, tmp_path: Path) -> Path:
    """Return a copy, with links to the partitions, which are only ever replaced."""
    return link_copy(template, tmp_path / "data" / "flights")


def link_copy(one: Path, other: Path) -> Path:
    def copy(source: str, target: str) -> None:
        (os.link if source.endswith(partitions.SUFFIX) else shutil.copy)(source, target)

    shutil.copytree(one, other, copy_function=copy)
    return other


def replace(
    data: Path, feed: str, day: int, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    target = partitions.partition_path(data, "validated", feed, date(2013, 1, day))
    partitions.write_partition(change(pd.read_parquet(target)), target)


def fewer(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows.index % 3 > 0].reset_index(drop=True)


def later(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(arr_delay=rows["arr_delay"] + 30)


def tables(data: Path) -> dict[str, bytes]:
    folder = data / "features"
    found = {str(part.relative_to(folder)): part.read_bytes() for part in folder.rglob("*.parquet")}
    assert found
    return found


def rebuilt(data: Path, folder: Path) -> dict[str, bytes]:
    """Return the tables of the same batches, built at once in a fresh folder."""
    fresh = link_copy(data, folder)
    shutil.rmtree(fresh / "features")
    build(fresh)
    return tables(fresh)


def test_a_restated_day_gives_the_bytes_of_a_full_rebuild(data: Path, tmp_path: Path) -> None:
    before = tables(data)
    replace(data, "outcomes", 3, later)
    replace(data, "outcomes", 5, fewer)
    replace(data, "weather", 2, fewer)
    replace(data, "schedule", 4, fewer)
    done = build(data)
    assert tables(data) == rebuilt(data, tmp_path / "fresh" / "data" / "flights") != before
    # Outcomes affect the next day too, so four of six days depend on the two replaced ones.
    assert done == {
        "weather": 2, "origin_delays": 4, "carrier_delays": 4, "route_delays": 4,
        "tail_delays": 4, "planes": 0, "fleets": 3, "routes": 1,
    }  # fmt: skip
    manifest = data / "features" / build_manifest.MANIFEST_FILE
    written = manifest.stat().st_ino
    assert set(build(data).values()) == {0}
    assert manifest.stat().st_ino == written, "nothing was built, so nothing is written"


def test_tables_from_a_fixed_day_on_depend_on_all_days_since(data: Path, tmp_path: Path) -> None:
    replace(data, "planes", 1, fewer)
    done = build(data)
    assert (done["planes"], done["fleets"], done["routes"]) == (1, DAYS, 0)
    assert tables(data) == rebuilt(data, tmp_path / "fresh" / "data" / "flights")


def test_days_built_one_by_one_record_their_inputs(data: Path, tmp_path: Path) -> None:
    shutil.rmtree(data / "features")
    for number in range(1, DAYS + 1):
        build(data, datetime(2013, 1, 1, tzinfo=UTC) + timedelta(days=number))
    replace(data, "outcomes", 2, fewer)
    replace(data, "planes", 1, fewer)
    assert build(data)["route_delays"] == 2
    assert tables(data) == rebuilt(data, tmp_path / "fresh" / "data" / "flights")


def test_a_day_that_lost_all_its_rows_loses_its_partition(data: Path, tmp_path: Path) -> None:
    replace(data, "schedule", 3, lambda rows: rows[:0])
    build(data)
    assert date(2013, 1, 3) not in partitions.partition_days(data, "features", "routes")
    assert tables(data) == rebuilt(data, tmp_path / "fresh" / "data" / "flights")
    assert set(build(data).values()) == {0}


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_killed_rebuild_ends_in_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """A rebuild is killed after some partitions; then the original batch comes back."""
    before = tables(data)
    kept = link_copy(data, tmp_path / "kept" / "data" / "flights")
    replace(data, "outcomes", 3, later)
    written: list[Path] = []

    def killed_write(rows: pd.DataFrame, target: Path) -> Path:
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(target)
        return write(rows, target)

    write = partitions.write_partition
    with monkeypatch.context() as patched:
        patched.setattr(table_builder.partitions, "write_partition", killed_write)
        with pytest.raises(KeyboardInterrupt):
            build(data)
    place = partitions.partition_path(data, "validated", "outcomes", date(2013, 1, 3))
    place.unlink()
    os.link(partitions.partition_path(kept, "validated", "outcomes", date(2013, 1, 3)), place)
    build(data)
    assert tables(data) == before


def test_a_late_publication_recorded_after_the_build_changes_the_tables(
    data: Path, tmp_path: Path
) -> None:
    hour = datetime(2013, 1, 4, 12, tzinfo=UTC)
    record_late_publication(data, hour, hour + timedelta(hours=1))
    assert set(build(data).values()) > {0}
    assert tables(data) == rebuilt(data, tmp_path / "fresh" / "data" / "flights")


@pytest.mark.parametrize("note", ["0f3a", json.dumps({"recipe": "?"}), '{"recipe'])
def test_a_manifest_of_another_form_counts_as_unknown(data: Path, note: str) -> None:
    before = tables(data)
    (data / "features" / build_manifest.MANIFEST_FILE).write_text(note)
    (data / "features" / partitions.RECIPE).write_text("0f3a")
    done = build(data)
    assert (done["weather"], done["planes"]) == (DAYS, 1)
    assert tables(data) == before
    assert set(done) == set(TABLES)


def test_a_publication_detects_replaced_tables(data: Path) -> None:
    until = date(2013, 1, 4)
    published = build_manifest.tables_version(data, until)
    assert published["day"] == "2013-01-04"
    assert not build_manifest.tables_replaced_since(data, published)
    replace(data, "outcomes", 5, later)
    build(data)
    assert not build_manifest.tables_replaced_since(data, published), (
        "the days up to the fourth are unchanged"
    )
    replace(data, "outcomes", 4, later)
    build(data)
    assert build_manifest.tables_replaced_since(data, published)
    assert build_manifest.tables_replaced_since(data, None)


def test_a_copy_in_a_feature_table_is_refused(data: Path) -> None:
    table = next(iter(TABLES))
    built = partitions.partition_path(data, "features", table, FIRST)
    copy = built.with_stem(f"{built.stem} (conflicted copy)")
    copy.write_bytes(b"older rows")
    with pytest.raises(LoopError, match="is not named after a day"):
        build(data)
