"""Partitions are written atomically, and the same rows give the same bytes."""

from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import durable_files, partitions
from settings import LoopError

DAY = date(2030, 5, 1)


def rows(values: list[float], unit: str = "us") -> pd.DataFrame:
    times = pd.date_range("2030-05-01", periods=len(values), freq="h", tz="UTC", unit=unit)
    return pd.DataFrame({"account": "a", "value": values, "known_at": times})


def test_same_rows_give_same_bytes(tmp_path):
    frame = rows([1.0, 2.0, 3.0])
    whole = partitions.write_partition(frame, tmp_path / "a.parquet")
    # Another index, another history of the frame, and nanoseconds: the same rows.
    other = pd.concat([rows([9.0], "ns"), rows([1.0, 2.0, 3.0], "ns")]).iloc[1:]
    assert (
        partitions.write_partition(other, tmp_path / "b.parquet").read_bytes() == whole.read_bytes()
    )
    again = partitions.write_partition(partitions.read_partition(whole), tmp_path / "c.parquet")
    assert again.read_bytes() == whole.read_bytes()


def test_times_are_microseconds_utc_and_no_index_is_stored(tmp_path):
    target = partitions.write_partition(rows([1.0, 2.0], "ns").iloc[1:], tmp_path / "a.parquet")
    assert pq.read_schema(target).names == ["account", "value", "known_at"]
    assert pq.read_schema(target).metadata is None
    assert pq.read_schema(target).field("known_at").type == pa.timestamp("us", "UTC")


def test_a_column_without_values_is_text(tmp_path):
    target = partitions.write_partition(rows([1.0]).assign(account=None), tmp_path / "a.parquet")
    assert pq.read_schema(target).field("account").type == pa.string()


def test_read_concatenates_in_the_order_of_days(tmp_path):
    for day in (3, 1, 2):
        frame = rows([float(day)])
        partitions.write_partition(
            frame, partitions.partition_path(tmp_path, "raw", "t", date(2030, 5, day))
        )
    read = partitions.read_days(tmp_path, "raw", "t", date(2030, 5, 1), date(2030, 5, 2))
    assert read["value"].tolist() == [1.0, 2.0]
    assert read.index.tolist() == [0, 1]
    assert str(read["known_at"].dtype) == "datetime64[us, UTC]"
    assert partitions.partition_days(tmp_path, "raw", "t") == [
        date(2030, 5, day) for day in (1, 2, 3)
    ]


def test_read_of_nothing_is_empty(tmp_path):
    assert partitions.read_days(tmp_path, "raw", "t", date.min, date.max).empty
    assert partitions.partition_days(tmp_path, "raw", "t") == []


def test_an_unfinished_file_is_no_partition(tmp_path):
    target = partitions.partition_path(tmp_path, "raw", "t", DAY)
    target.parent.mkdir(parents=True)
    unfinished = target.with_name(f".{target.name}.1-0{durable_files.UNFINISHED}")
    unfinished.write_bytes(b"half a fi")
    assert partitions.partition_days(tmp_path, "raw", "t") == []
    partitions.write_partition(rows([1.0]), target)
    assert partitions.partition_days(tmp_path, "raw", "t") == [DAY]


def test_an_error_names_a_damaged_file(tmp_path):
    target = partitions.write_partition(
        rows([1.0]), partitions.partition_path(tmp_path, "raw", "t", DAY)
    )
    target.write_bytes(target.read_bytes()[:-20])
    with pytest.raises(LoopError, match=str(target)) as caught:
        partitions.read_days(tmp_path, "raw", "t", DAY, DAY)
    assert caught.value.__cause__ is not None


def test_an_error_names_a_file_that_is_not_named_after_a_day(tmp_path):
    partitions.write_partition(rows([1.0]), tmp_path / "raw" / "t" / "notes.parquet")
    with pytest.raises(LoopError, match="notes"):
        partitions.partition_days(tmp_path, "raw", "t")


def test_a_day_range_excludes_its_end():
    assert partitions.day_range(DAY, date(2030, 5, 3)) == [DAY, date(2030, 5, 2)]
    assert partitions.day_range(DAY, DAY) == []


def test_a_note_is_stored_in_the_file_and_not_read_with_the_rows(tmp_path):
    target = partitions.write_partition(rows([1.0]), tmp_path / "a.parquet", note={"made": "today"})
    assert partitions.partition_note(target) == {"made": "today"}
    assert partitions.read_partition(target).schema.metadata is None
    assert (
        partitions.partition_note(partitions.write_partition(rows([1.0]), tmp_path / "b.parquet"))
        == {}
    )


@pytest.mark.parametrize(
    "name",
    ["2030-05-01 (conflicted copy)", "._2030-05-01", "20300501", "2030-W18-3", "2030-05-01.bak"],
)
def test_a_copy_beside_a_partition_is_refused_by_name(name, tmp_path):
    kept = partitions.partition_path(tmp_path, "raw", "payments", DAY)
    partitions.write_partition(rows([1.0]), kept)
    copy = kept.with_name(f"{name}.parquet")
    copy.write_bytes(kept.read_bytes())
    for read in (
        lambda: partitions.read_days(tmp_path, "raw", "payments", DAY, DAY),
        lambda: partitions.partition_day(copy),
    ):
        with pytest.raises(LoopError, match="is not named after a day") as error:
            read()
        assert str(copy) in str(error.value)
    copy.unlink()
    assert len(partitions.read_days(tmp_path, "raw", "payments", DAY, DAY)) == 1
