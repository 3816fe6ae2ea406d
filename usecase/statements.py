"""The newest statement about an entity: a row of a later batch replaces an earlier one of its key.

The order is that of `known_at`; of two rows known at the same moment the later row counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

NEVER = np.iinfo(np.int64).max


def newest(
    rows: pd.DataFrame, key: Sequence[str], *, before: datetime | None = None
) -> pd.DataFrame:
    """The newest row of each `key` among those with `known_at` < `before` (all, if None).

    The rows keep their order and their index.
    """
    known = rows if before is None else rows[rows["known_at"] < before]
    order = known["known_at"].argsort(kind="stable").to_numpy()
    older = known.iloc[order].duplicated(list(key), keep="last").to_numpy()
    return known.iloc[np.sort(order[~older])]


def changed_statements(rows: pd.DataFrame, key: Sequence[str], value: str) -> pd.DataFrame:
    """The rows that state another `value` than the statement of their `key` before.

    A statement that is repeated is no news: it is known since it was made first. The rows keep
    their order and their index.
    """
    if not rows.duplicated(list(key)).any():
        return rows
    order = rows["known_at"].argsort(kind="stable").to_numpy()
    before = rows.iloc[order].groupby(list(key), sort=False)[value].shift()
    again = (before == rows[value].iloc[order]).to_numpy()
    return rows.iloc[np.sort(order[~again])]


def superseded_from(rows: pd.DataFrame, key: Sequence[str], counts_from: np.ndarray) -> np.ndarray:
    """For each row the number in `counts_from` of the next statement of its key; NEVER without one.

    `counts_from` (int64, shape (n_rows,)) says when each row starts to count, and must not fall
    where `known_at` rises. So a row counts in [counts_from, superseded), which may be empty.
    """
    ends = np.full(len(rows), NEVER)
    order = rows["known_at"].argsort(kind="stable").to_numpy()
    restated = rows.iloc[order].duplicated(list(key), keep=False).to_numpy()
    some = order[restated]
    if not len(some):
        return ends
    entities = rows.iloc[some].groupby(list(key), dropna=False).ngroup().to_numpy()
    by_entity = np.argsort(entities, kind="stable")
    some, entities = some[by_entity], entities[by_entity]
    again = entities[1:] == entities[:-1]
    ends[some[:-1][again]] = counts_from[some[1:][again]]
    return ends
