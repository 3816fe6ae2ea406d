"""What do the gates on a candidate look at? The holdout, and what each model said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class GateInputs:
    """The holdout as the gates see it; every array is of shape (n_cases,), in the same order.

    `frame` has the model's columns, `label` and `decision_time`; `champion` is None where there is
    none to compare with; `predict` asks the candidate about changed rows; `columns` are the
    model's.
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
        """The UTC day of each decision: days, and not cases, are independent."""
        return self.frame["decision_time"].dt.floor("D")

    def parts(self, least: int) -> Iterator[tuple[str, np.ndarray]]:
        """Name and rows (a mask) of each slice with `least` cases.

        The smaller ones of a kind are pooled, so that nobody is left out for being few; what is
        too small even then is not judged.
        """
        for kind, values in self.slices.items():
            counts = values.value_counts()
            small = set(counts[counts < least].index)
            groups = values.where(~values.isin(small), "others, pooled").to_numpy()
            for value in sorted(set(groups)):
                rows = groups == value
                if rows.sum() >= least:
                    yield f"{kind} {value} ({rows.sum():,} cases)", rows
