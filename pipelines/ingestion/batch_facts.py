"""Facts of a whole batch, one row per batch, on which batch rules are evaluated."""

from collections.abc import Sequence
from datetime import date, timedelta
from statistics import median
from typing import Any

import pandas as pd
import pyarrow as pa

# Counts vary over the week, so a ratio needs at least a week of history.
MIN_HISTORY = 7


def schema_text(schema: pa.Schema) -> str:
    """Return columns, order and types as text: the fact that is checked before any row."""
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def describe_schema_difference(observed: str, declared: str) -> str:
    """Describe how two texts of `schema_text` differ, for the person who fixes the source."""
    given, wanted = observed.split(", "), declared.split(", ")
    missing = ", ".join(column for column in wanted if column not in given)
    extra = ", ".join(column for column in given if column not in wanted)
    if not missing and not extra:
        return f"the columns are in another order: {observed}"
    return f"missing: {missing or 'none'}; unexpected: {extra or 'none'}"


def compute_batch_facts(
    rows: pd.DataFrame, day: date, *, key: Sequence[str], n_quarantined: int, history: Sequence[int]
) -> dict[str, Any]:
    """Return the facts of the batch of the UTC day `day`; `history` holds earlier row counts.

    `n_rows_ratio` (to the median of `history`) is missing, and so not checked, with less than a
    week of history. `hours_before_end` is the time from the newest row known that day to the end
    of the day: 24 if the day has none.
    """
    start = pd.Timestamp(day, tz="UTC")
    end = start + timedelta(days=1)
    known = rows["known_at"]
    newest = known[(known >= start) & (known < end)].max()
    n_rows = len(rows)
    usual = median(history) if len(history) >= MIN_HISTORY else float("nan")
    counts = {
        "duplicate_share": int(rows.duplicated(list(key), keep=False).sum()),
        "quarantined_share": n_quarantined,
        **{f"null_share_{name}": int(count) for name, count in rows.isna().sum().items()},
    }
    return {
        "n_rows": n_rows,
        "n_rows_ratio": n_rows / usual if usual else float("inf"),
        "hours_before_end": 24.0 if pd.isna(newest) else (end - newest).total_seconds() / 3600,
        **{name: count / n_rows if n_rows else 0.0 for name, count in counts.items()},
    }
