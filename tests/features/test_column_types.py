"""Rows take their declared types if no value changes, and older rows fit a later schema."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import column_types, partitions

TIME = pa.timestamp("us", "UTC")
NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)


def conformed(values: Any, wanted: pa.DataType) -> pa.ChunkedArray:
    """Return the values from pandas, conformed to the declared type `wanted`."""
    table = column_types.to_arrow(pd.DataFrame({"value": values}))
    return column_types.conform(table, pa.schema({"value": wanted})).column("value")


@pytest.mark.parametrize(
    "wanted", [pa.float64(), pa.int64(), pa.bool_(), pa.string(), TIME, pa.date32()], ids=str
)
@pytest.mark.parametrize(
    "values",
    [
        [None, None],
        [float("nan")] * 2,
        pd.Series([None, None], dtype="object"),
        pd.Series([pd.NaT, pd.NaT]),  # nanoseconds, without a zone
        pd.Series([None, None], dtype="string"),
        pd.Series([], dtype="object"),
    ],
    ids=["None", "NaN", "object", "NaT", "string", "empty"],
)
def test_a_column_without_any_value_takes_its_declared_type(values, wanted):
    found = conformed(values, wanted)
    assert found.type == wanted
    assert found.null_count == len(values)


@pytest.mark.parametrize(
    ("values", "wanted", "expected"),
    [
        ([1.0, None], pa.int64(), [1, None]),
        ([1, 2], pa.float64(), [1.0, 2.0]),
        ([Decimal("1.25"), None], pa.float64(), [1.25, None]),
        ([Decimal("2.00"), None], pa.int64(), [2, None]),
        ([1, 0], pa.bool_(), [True, False]),
        ([1.0, None], pa.bool_(), [True, None]),
        ([True, None], pa.bool_(), [True, None]),
        (pd.Categorical(["a", None]), pa.string(), ["a", None]),
        (pd.Series(["a", None], dtype="string[pyarrow]"), pa.string(), ["a", None]),
        ([NOON.astimezone(timezone(timedelta(hours=2)))], TIME, [NOON]),
        ([date(2030, 5, 1), None], pa.date32(), [date(2030, 5, 1), None]),
    ],
)
def test_another_form_of_the_same_values_takes_the_declared_type(values, wanted, expected):
    found = conformed(values, wanted)
    assert found.type == wanted
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.5], pa.int64()),
        ([2], pa.bool_()),
        ([2**53 + 1], pa.float64()),
        ([Decimal("0.1234567890123456789")], pa.float64()),
        (["1"], pa.int64()),
        ([1], pa.string()),
        ([True], pa.int64()),
        ([datetime(2030, 5, 1, 12)], TIME),  # noqa: DTZ001 - as SQL sources return it
        ([date(2030, 5, 1)], TIME),
    ],
)
def test_a_cast_that_would_change_a_value_is_not_made(values, wanted):
    came = column_types.to_arrow(pd.DataFrame({"value": values})).column("value")
    assert conformed(values, wanted).equals(came)
    assert came.type != wanted


def test_times_that_pandas_wrote_in_another_zone_are_the_declared_ones_for_pandas(tmp_path):
    """`to_pandas` follows the metadata that `to_parquet` writes, also after a cast."""
    times = pd.Series([NOON, NOON + timedelta(hours=1)]).dt.tz_convert("America/New_York")
    pd.DataFrame({"value": times}).to_parquet(tmp_path / "raw.parquet")
    table = pq.read_table(tmp_path / "raw.parquet").replace_schema_metadata(
        {**pq.read_schema(tmp_path / "raw.parquet").metadata, b"digest": b"1"}
    )
    found = column_types.conform(table, pa.schema({"value": TIME}))
    assert str(found.to_pandas()["value"].dtype) == "datetime64[us, UTC]"
    assert found.schema.metadata == {b"digest": b"1"}


def test_other_columns_are_unchanged():
    table = pa.table({"b": [1], "c": [2]})
    assert column_types.conform(table, pa.schema({"a": pa.int64(), "b": pa.int64()})) == table


def test_older_rows_fit_a_schema_declared_later():
    old = pa.table(
        {
            "gone": ["x", "y"],
            "whole": pa.array([1, 2], pa.int32()),
            "price": [1, None],
            "on": pa.array([date(2030, 5, 1), None]),
            "empty": pa.array([None, None], pa.string()),
        }
    )
    schema = pa.schema(
        {
            "price": pa.float64(), "new": TIME, "whole": pa.int64(), "on": TIME,
            "empty": pa.float64(),
        }
    )  # fmt: skip
    found = column_types.widen(old, schema)
    assert found.schema == schema
    assert found.to_pydict() == {
        "price": [1.0, None], "new": [None, None], "whole": [1, 2],
        "on": [datetime(2030, 5, 1, tzinfo=UTC), None], "empty": [None, None],
    }  # fmt: skip


def test_a_type_that_loses_values_is_named():
    with pytest.raises(ValueError, match=r"column price .* double to int64"):
        column_types.widen(pa.table({"price": [1.5]}), pa.schema({"price": pa.int64()}))


def test_days_with_and_without_values_can_be_concatenated(tmp_path):
    schema = pa.schema({"value": pa.float64(), "at": TIME})
    frames = [
        pd.DataFrame({"value": [None], "at": [pd.NaT]}),
        pd.DataFrame({"value": [1.5], "at": [pd.Timestamp(NOON)]}),
    ]
    for number, frame in enumerate(frames):
        path = partitions.partition_path(tmp_path, "any", "t", date(2030, 5, 1 + number))
        table = column_types.conform(column_types.to_arrow(frame), schema)
        partitions.write_partition(table, path)
    rows = partitions.read_days(tmp_path, "any", "t", date.min, date.max)
    assert rows.dtypes.astype(str).to_dict() == {"value": "float64", "at": "datetime64[us, UTC]"}
    assert rows["value"].tolist()[1] == 1.5
