"""Drift of the served cases from the champion's evaluation cases, by Evidently's distances.

Significance tests flag nearly every column between any two windows of this size, so distances are
used: Wasserstein in standard deviations of the reference for numbers, Jensen-Shannon for
categories. Both drop missing values first, so the shares of missing values are compared here.
"""

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Any

import numpy as np
import pandas as pd

from settings import LoopError

NUMBER, CATEGORY = "wasserstein", "jensenshannon"
PREDICTION, TARGET = "probability", "label"
SIDES = ("the champion's reference", "the prediction log")
DRIFT_ADVICE = (
    "Check the feature tables and the online publication before you trust these predictions"
)


def measure_drift(
    reference: pd.DataFrame, current: pd.DataFrame, *, features: Sequence[str],
    categories: Sequence[str], limits: dict[str, Any], seed: int,
) -> tuple[dict[str, Any], list[pd.DataFrame]]:  # fmt: skip
    """Return the drift of `current`, and the compared rows of both frames for Evidently's report.

    Both frames hold `features`, `probability` and `label` (NaN if unknown). At most
    `limits["max_rows"]` rows of each are compared, drawn with `seed`. The result, as JSON types:

    - `features`, `prediction`, `target` (None without any label): the drift of each column, with
      `score` (the distance), `limit`, `drifted`, `method` and the shares of missing values
    - `unmeasured`: the reason for each feature that has no column, value or score
    - `share` of all features that has drifted, with the unmeasured ones: a feature that is no
      longer served is the worst drift, and no distance shows it
    - `missing_change`: the largest change of a feature's share of missing values
    - `n_reference`, `n_current`: compared rows

    Raises `LoopError` without a row, a prediction, or a measurable feature.
    """
    texts, whole = [*categories, TARGET], [*features, PREDICTION, TARGET]
    samples = [
        _sample(frame, whole, texts, limits["max_rows"], seed) for frame in (reference, current)
    ]
    unmeasured: dict[str, str] = {}
    for side, sample in zip(SIDES, samples, strict=True):
        if sample.empty:
            raise LoopError(f"There is no row in {side}: nothing to compare.")
        for name in [*features, PREDICTION]:
            if sample[name].isna().all():
                unmeasured.setdefault(name, f"no value in {len(sample):,} rows of {side}")
    measured = [name for name in features if name not in unmeasured]
    if PREDICTION in unmeasured or not measured:
        why = "; ".join(dict.fromkeys(unmeasured.values())) or "there is no feature"
        raise LoopError(f"Drift can't be measured: {why}. {DRIFT_ADVICE}")
    columns = [*measured, PREDICTION]
    if samples[1][TARGET].notna().any():
        columns.append(TARGET)
    before, now = (frame[list(features)].isna().mean() for frame in samples)
    samples = [frame[columns] for frame in samples]
    drifts = {
        name: _measure_column(name, *samples, categories=texts, limits=limits) for name in columns
    }
    if not isfinite(drifts[PREDICTION]["score"]):
        raise LoopError("There is no score for the predictions.")
    scored = {name: drifts[name] for name in measured if isfinite(drifts[name]["score"])}
    unmeasured |= {name: "there is no score" for name in measured if name not in scored}
    n_drifted = sum(column["drifted"] for column in scored.values()) + len(unmeasured)
    return {
        "share": n_drifted / len(features), "missing_change": float((now - before).abs().max()),
        "features": scored, "prediction": drifts[PREDICTION], "target": drifts.get(TARGET),
        "n_reference": len(samples[0]), "n_current": len(samples[1]), "unmeasured": unmeasured,
    }, samples  # fmt: skip


def describe_unmeasured(drift: Mapping[str, Any]) -> str | None:
    """Return a message that names each unmeasured feature, or None."""
    names = ", ".join(f"{name} ({why})" for name, why in drift["unmeasured"].items())
    return f"drift of {names}. {DRIFT_ADVICE}" if names else None


def _sample(
    frame: pd.DataFrame, columns: list[str], texts: Sequence[str], n_rows: int, seed: int
) -> pd.DataFrame:
    sample = frame.reindex(columns=columns)  # an absent column gets no value
    sample = sample if len(sample) <= n_rows else sample.sample(n_rows, random_state=seed)
    typed = {
        # As text, labels of 1.0 and 1 are one category, and Evidently takes none for a number.
        name: sample[name].astype(object).where(sample[name].isna(), sample[name].map(_text))
        if name in texts
        # An infinite number counts as missing: it has no distance to others.
        else sample[name].astype("float64").replace([-inf, inf], np.nan)
        for name in columns
    }
    return pd.DataFrame(typed).reset_index(drop=True)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _measure_column(
    name: str, reference: pd.DataFrame, current: pd.DataFrame, *, categories: Sequence[str],
    limits: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return the drift of one column, by the formulas of Evidently's report."""
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import wasserstein_distance

    before, now = reference[name], current[name]
    if name in categories:
        method, limit = CATEGORY, limits["category"]
        shares = pd.concat([side.value_counts(normalize=True) for side in (before, now)], axis=1)
        score = jensenshannon(*shares.fillna(0).to_numpy().T)
    else:
        method, limit = NUMBER, limits["prediction" if name == PREDICTION else "number"]
        given = before.dropna()
        score = wasserstein_distance(given, now.dropna()) / max(np.std(given), 0.001)
    return {
        "score": float(score), "limit": limit, "drifted": bool(score >= limit), "method": method,
        "missing_reference": float(before.isna().mean()),
        "missing_current": float(now.isna().mean()),
    }  # fmt: skip
