"""The distances of a replay are Evidently's own, number for number."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monitoring import distances, drift
from settings import LoopError

LIMITS = {"max_rows": 400, "share": 0.5, "number": 0.3, "category": 0.1, "prediction": 0.3}


def frame(seed: int, moved: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = rng.normal(moved, 1, 600)
    values[::7] = np.nan
    return pd.DataFrame({
        "a": values, "b": rng.choice(["x", "y", "z"], 600, p=[0.5, 0.3, 0.2 ]),
        "probability": rng.uniform(size=600), "label": rng.integers(0, 2, 600).astype(float),
    })  # fmt: skip


def test_both_give_the_same() -> None:
    before, now = frame(1), frame(2, moved=0.5)
    how = {"features": ["a", "b"], "categories": ["b"], "limits": LIMITS, "seed": 3}
    theirs, _ = drift.compare(before, now, **how)  # type: ignore[arg-type]
    ours = distances.compare(before, now, **how)  # type: ignore[arg-type]
    for name, column in theirs.features.items():
        assert ours.features[name].score == pytest.approx(column.score, rel=1e-9)
        assert ours.features[name].drifted == column.drifted
    assert ours.prediction.score == pytest.approx(theirs.prediction.score, rel=1e-9)
    assert ours.target is not None
    assert theirs.target is not None
    assert ours.target.score == pytest.approx(theirs.target.score, rel=1e-9)
    assert (ours.share, ours.missing_change) == (theirs.share, theirs.missing_change)
    assert ours.features["a"].drifted


def test_without_a_label_there_is_no_drift_of_labels() -> None:
    found = distances.compare(
        frame(1), frame(2).assign(label=np.nan), features=["a", "b"], categories=["b"],
        limits=LIMITS, seed=3,
    )  # fmt: skip
    assert found.target is None


def test_a_feature_that_is_served_no_more_is_no_distance() -> None:
    with pytest.raises(LoopError, match="not one value of a"):
        distances.compare(
            frame(1), frame(2).assign(a=np.nan), features=["a", "b"], categories=["b"],
            limits=LIMITS, seed=3,
        )  # fmt: skip
