"""Daily Parquet partitions: `data/<layer>/<table>/<YYYY-MM-DD>.parquet`."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features import column_types, durable_files
from settings import LoopError

SUFFIX = ".parquet"
RECIPE = "RECIPE"  # the file with the digest of the code and parameters that made the partitions


def partition_path(data: Path, layer: str, table: str, day: date) -> Path:
    """Return the path for the UTC day `day`; `table` may hold a slash (`refused/<feed>`)."""
    return data / layer / table / f"{day.isoformat()}{SUFFIX}"


def write_partition(
    rows: pd.DataFrame | pa.Table, target: Path, *, note: Mapping[str, str] | None = None
) -> Path:
    """Write a partition atomically. The same rows give the same bytes.

    Timestamps become microseconds. A column without any value becomes text: Parquet's null type
    breaks a union over days. `partition_note` reads `note` from the file. Raise
    `pyarrow.ArrowException` (a ValueError or TypeError) if a column mixes types.
    """
    table = column_types.to_arrow(rows)
    columns = [
        (field.name, pa.string() if pa.types.is_null(field.type) else field.type)
        for field in table.schema
    ]
    stored = pa.schema(columns, metadata=note or None)
    with durable_files.atomic_replace(target) as unfinished:
        pq.write_table(table.cast(stored), unfinished)
    return target


def read_partition(target: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return one partition, or some of its columns, as an Arrow table.

    Raise `LoopError` if the file is damaged.
    """
    with _readable(target), pq.ParquetFile(target) as file:
        # Without the note, so that tables of several days can be concatenated.
        return file.read(columns, use_threads=False).replace_schema_metadata()


def partition_note(target: Path) -> dict[str, str]:
    """Return the note in a partition. Raise `LoopError` if the file is damaged."""
    with _readable(target):
        metadata = pq.read_schema(target).metadata or {}
    return {name.decode(): value.decode() for name, value in metadata.items()}


def n_rows(target: Path) -> int:
    """Return the number of rows, read from the footer alone."""
    with pq.ParquetFile(target) as file:
        return int(file.metadata.num_rows)


def read_days(data: Path, layer: str, table: str, first_day: date, last_day: date) -> pd.DataFrame:
    """Return all rows of `first_day` to `last_day` (both included), in the order of days.

    Return an empty frame without columns if there is no partition.
    """
    chosen = [day for day in partition_days(data, layer, table) if first_day <= day <= last_day]
    if not chosen:
        return pd.DataFrame()
    tables = [read_partition(partition_path(data, layer, table, day)) for day in chosen]
    rows: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    return rows


def partition_days(data: Path, layer: str, table: str) -> list[date]:
    """Return the days that have a partition, sorted."""
    return sorted(partition_day(path) for path in (data / layer / table).glob(f"*{SUFFIX}"))


def partition_day(path: Path) -> date:
    """Return the day that names the file. Raise `LoopError` for another name, such as a copy's."""
    with suppress(ValueError):
        day = date.fromisoformat(path.stem)
        if path.stem == day.isoformat():  # a second spelling would be a second file of that day
            return day
    raise LoopError(f"{path} is not named after a day, such as 2025-01-31. Move it elsewhere.")


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below `folder`, following symbolic links."""
    for parent, _, names in os.walk(folder, followlinks=True):
        yield from (Path(parent, name) for name in names)


def day_range(first_day: date, until: date) -> list[date]:
    """Return the days from `first_day` up to, and without, `until`."""
    return [first_day + timedelta(days=number) for number in range((until - first_day).days)]


@contextmanager
def _readable(target: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise LoopError(
            f"The partition {target} cannot be read ({error}). Remove it, then rerun the command "
            "that writes it: for a raw partition, `mlops ingest`."
        ) from error


def recipe_digest(*parts: Path | str) -> str:
    """Return a digest of files (by their content) and texts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    return digest.hexdigest()
