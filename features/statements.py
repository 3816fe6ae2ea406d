"""Restated rows: a row of a later batch replaces an earlier row with the same key.

A statement is one row about an entity. Statements are ordered by `known_at`; of two that became
known at the same moment, the later row counts.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

NEVER = np.iinfo(np.int64).max


def newest(
    rows: pd.DataFrame, key: Sequence[str], *, before: datetime | None = None
) -> pd.DataFrame:
    """Return the newest row of each `key` with `known_at` < `before` (of all rows, if None).

    The rows keep their order and index.
    """
    known = rows if before is None else rows[rows["known_at"] < before]
    order = known["known_at"].argsort(kind="stable").to_numpy()
    older = known.iloc[order].duplicated(list(key), keep="last").to_numpy()
    return known.iloc[np.sort(order[~older])]


def changed_statements(rows: pd.DataFrame, key: Sequence[str], value: str) -> pd.DataFrame:
    """Return the rows whose `value` differs from the previous statement of their `key`.

    A repeated value is not new: it has been known since its first statement. The rows keep their
    order and index.
    """
    if not rows.duplicated(list(key)).any():
        return rows
    order = rows["known_at"].argsort(kind="stable").to_numpy()
    previous = rows.iloc[order].groupby(list(key), sort=False)[value].shift()
    repeated = (previous == rows[value].iloc[order]).to_numpy()
    return rows.iloc[np.sort(order[~repeated])]


def superseded_from(rows: pd.DataFrame, key: Sequence[str], counts_from: np.ndarray) -> np.ndarray:
    """Return, for each row, `counts_from` of the next statement of its key; NEVER if none follows.

    `counts_from` (int64, shape (n_rows,)) is when each row starts to count; it must not decrease
    as `known_at` increases. A row counts in [counts_from, superseded_from), which may be empty.
    """
    ends = np.full(len(rows), NEVER)
    order = rows["known_at"].argsort(kind="stable").to_numpy()
    restated = order[rows.iloc[order].duplicated(list(key), keep=False).to_numpy()]
    stated = rows.iloc[restated][list(key)].assign(counts_from=counts_from[restated])
    following = stated.groupby(list(key), dropna=False)["counts_from"]
    ends[restated] = following.shift(-1, fill_value=NEVER)
    return ends
