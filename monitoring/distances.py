"""Drift as `monitoring.drift` has it, without Evidently's report: for replays, which ask it daily.

The same samples and the same two distances; a test holds that both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from monitoring import drift
from monitoring.drift import PREDICTION, TARGET, ColumnDrift, Drift

LEAST_SPREAD = 0.001  # Evidently's: a column that hardly varies is not divided by nothing


def compare(
    reference: pd.DataFrame, current: pd.DataFrame, *, features: Sequence[str],
    categories: Sequence[str], limits: dict[str, Any], seed: int,
) -> Drift:  # fmt: skip
    """As `drift.compare`, but for the snapshot."""
    for frame, what in ((reference, "the champion's reference"), (current, "the prediction log")):
        drift.require(frame, [*features, PREDICTION], what)
    sides = [
        frame if len(frame) <= limits["max_rows"]
        else frame.sample(limits["max_rows"], random_state=seed)
        for frame in (reference, current)
    ]  # fmt: skip
    before, now = sides
    found = {
        name: _column(before[name], now[name], limits["category"], drift.CATEGORY)
        if name in categories
        else _column(before[name], now[name], limits["number"], drift.NUMBER)
        for name in features
    }
    return Drift(
        share=sum(column.drifted for column in found.values()) / len(found),
        missing_change=max(
            abs(column.missing_current - column.missing_reference) for column in found.values()
        ),
        features=found,
        prediction=_column(before[PREDICTION], now[PREDICTION], limits["prediction"], drift.NUMBER),
        target=_column(before[TARGET], now[TARGET], limits["category"], drift.CATEGORY)
        if current[TARGET].notna().any()
        else None,
        n_reference=len(sides[0]),
        n_current=len(sides[1]),
    )


def _column(reference: pd.Series, current: pd.Series, limit: float, method: str) -> ColumnDrift:
    measure = _categories if method == drift.CATEGORY else _numbers
    score = measure(reference.dropna(), current.dropna())
    return ColumnDrift(
        score=score, limit=limit, drifted=score >= limit, method=method,
        missing_reference=float(reference.isna().mean()),
        missing_current=float(current.isna().mean()),
    )  # fmt: skip


def _numbers(reference: pd.Series, current: pd.Series) -> float:
    from scipy.stats import wasserstein_distance

    before = reference.to_numpy(dtype="float64")
    spread = max(float(np.std(before)), LEAST_SPREAD)
    return float(wasserstein_distance(before, current.to_numpy(dtype="float64"))) / spread


def _categories(reference: pd.Series, current: pd.Series) -> float:
    from scipy.spatial.distance import jensenshannon

    shares = pd.concat(
        [side.value_counts(normalize=True) for side in (reference, current)], axis=1
    ).fillna(0.0)
    return float(jensenshannon(shares.iloc[:, 0], shares.iloc[:, 1]))
