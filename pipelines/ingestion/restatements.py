"""Count restatements: rows of a batch whose key an earlier batch of its feed already has."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features import durable_files, partitions
from settings import Settings
from usecase.schema import KEYS


def count_restatements(data: Path, feed: str, days: Collection[date]) -> int:
    """Count the validated rows of `days` whose key a batch of an earlier day also has."""
    until = [day for day in partitions.partition_days(data, "validated", feed) if day <= max(days)]
    paths = [partitions.partition_path(data, "validated", feed, day) for day in until]
    tables = [pq.read_table(path, columns=KEYS[feed], use_threads=False) for path in paths]
    keys = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    batch = np.repeat(np.arange(len(until)), [table.num_rows for table in tables])
    key_ids = keys.groupby(KEYS[feed], sort=False).ngroup().to_numpy()  # -1: no key
    first = pd.Series(batch).groupby(key_ids).transform("min").to_numpy()
    requested = np.isin(batch, [number for number, day in enumerate(until) if day in set(days)])
    return int((requested & (batch > first) & (key_ids >= 0)).sum())


def record_restatements(settings: Settings, feed: str, days: Collection[date]) -> int:
    """Count the restatements of `days` and store the number for the metrics."""
    count = count_restatements(settings.data, feed, days)
    durable_files.write_json(_file(settings), read_restatements(settings) | {feed: count})
    return count


def read_restatements(settings: Settings) -> dict[str, int]:
    """Return by feed the restatements in the batches that were validated last."""
    return durable_files.read_json(_file(settings)) or {}


def _file(settings: Settings) -> Path:
    return settings.var / "restated.json"
