"""Where a day of a table lies on disk, and how it is written so that the same rows are the same bytes."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def path(data: Path, layer: str, table: str, day: date) -> Path:
    return data / layer / table / f"{day.isoformat()}.parquet"


def write(frame: pd.DataFrame, target: Path) -> None:
    """Writes whole or not at all; timestamps in microseconds, no index, no time of writing."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    schema = pa.schema([_micro(field) for field in table.schema])
    target.parent.mkdir(parents=True, exist_ok=True)
    # Readers take *.parquet: a half-written file must not match.
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    pq.write_table(table.cast(schema), part, compression="zstd")
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.rename(target)


def _micro(field: pa.Field) -> pa.Field:
    if pa.types.is_timestamp(field.type):
        return field.with_type(pa.timestamp("us", tz=field.type.tz))
    return field


def read(data: Path, layer: str, table: str, first: date, last: date) -> pd.DataFrame:
    """The rows of the days `first` to `last`, in the order of days; no columns if there are none."""
    wanted = [
        path(data, layer, table, day) for day in days(data, layer, table) if first <= day <= last
    ]
    if not wanted:
        return pd.DataFrame()
    tables = [pq.read_table(part) for part in wanted]
    return pa.concat_tables(tables, promote_options="permissive").to_pandas()


def days(data: Path, layer: str, table: str) -> list[date]:
    """The days of which `table` has a partition, in order."""
    folder = data / layer / table
    return sorted(date.fromisoformat(part.stem) for part in folder.glob("[0-9]*.parquet"))


def whole_days(first: date, until: date) -> list[date]:
    """The days from `first` up to `until`, which is left out."""
    return [first + timedelta(days=number) for number in range((until - first).days)]
