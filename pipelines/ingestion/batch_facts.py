"""What a batch looks like from outside: its facts, one row per batch, of which batch rules ask."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from statistics import median
from typing import Any

import pandas as pd
import pyarrow as pa

# Counts swing over the week: with less than a week of history there is no ratio to judge.
MIN_HISTORY = 7


def schema_text(schema: pa.Schema) -> str:
    """The fact that must be right before any row can be judged: columns, their order and types."""
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def describe_schema_difference(observed: str, declared: str) -> str:
    """What distinguishes two texts of `schema_text`, for the person who must mend the source."""
    found, wanted = observed.split(", "), declared.split(", ")
    missing = ", ".join(column for column in wanted if column not in found)
    extra = ", ".join(column for column in found if column not in wanted)
    if not missing and not extra:
        return f"the columns stand in another order: {observed}"
    return f"not there: {missing or 'nothing'}; there instead: {extra or 'nothing'}"


def compute_batch_facts(
    rows: pd.DataFrame, day: date, *, key: Sequence[str], n_quarantined: int, before: Sequence[int]
) -> dict[str, Any]:
    """The facts of the batch of the UTC day `day`; `before` holds earlier batches' row counts.

    `n_rows_ratio` (to the median of `before`) is missing, and so not judged, with less than a week
    of history. `hours_before_end` of the day, the newest row became known: 24 if none did that day.
    """
    start = pd.Timestamp(day, tz="UTC")
    end = start + timedelta(days=1)
    known = rows["known_at"]
    newest = known[(known >= start) & (known < end)].max()
    n_rows = len(rows)
    return {
        "n_rows": n_rows,
        "n_rows_ratio": _ratio(n_rows, before),
        "hours_before_end": 24.0 if pd.isna(newest) else (end - newest).total_seconds() / 3600,
        "duplicate_share": _share(int(rows.duplicated(list(key), keep=False).sum()), n_rows),
        "quarantined_share": _share(n_quarantined, n_rows),
        **{f"null_share_{name}": _share(int(n), n_rows) for name, n in rows.isna().sum().items()},
    }


def _ratio(n_rows: int, before: Sequence[int]) -> float:
    if len(before) < MIN_HISTORY:
        return float("nan")
    usual = median(before)
    return n_rows / usual if usual else float("inf")


def _share(count: int, n_rows: int) -> float:
    return count / n_rows if n_rows else 0.0
