"""The input of the gates on a candidate: the holdout, and each model's probabilities on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class GateInputs:
    """The holdout and probabilities on it; arrays have shape (n_cases,) and the same order.

    `frame` has the model's `columns`, `label` and `decision_time`. `champion` is None without a
    champion. `predict` returns the candidate's probabilities on changed rows.
    """

    frame: pd.DataFrame
    candidate: np.ndarray
    baseline: np.ndarray
    champion: np.ndarray | None
    predict: Callable[[pd.DataFrame], np.ndarray]
    slices: Mapping[str, pd.Series]
    manifest: Mapping[str, Any]
    costs: dict[str, float]
    seed: int
    columns: Sequence[str] = ()

    @property
    def y(self) -> np.ndarray:
        return self.frame["label"].to_numpy()

    @property
    def days(self) -> pd.Series:
        """The UTC day of each decision; the bootstrap treats days, not cases, as independent."""
        return self.frame["decision_time"].dt.floor("D")

    def pooled_slices(self, min_cases: int) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and mask of each slice with at least `min_cases` cases.

        Smaller slices of a kind are pooled, so that their cases count too. A pool that is still
        too small is left out.
        """
        for kind, values in self.slices.items():
            counts = values.value_counts()
            small = set(counts[counts < min_cases].index)
            groups = values.where(~values.isin(small), "others, pooled").to_numpy()
            for value in sorted(set(groups)):
                rows = groups == value
                if rows.sum() >= min_cases:
                    yield f"{kind} {value} ({rows.sum():,} cases)", rows
