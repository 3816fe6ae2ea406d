"""Gates against leaks: results, columns and values that are too good to be known in time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from pipelines.evaluation.gates.verdict import (
    GateInputs,
    Limits,
    Verdict,
    at_most,
    worst_verdict,
)
from usecase.evaluation import metrics


def not_too_good_to_be_true(inputs: GateInputs, limits: Limits) -> Verdict:
    """AUC is not far above the field's best known results, which would suggest a leak."""
    auc = metrics(inputs.y, inputs.candidate, inputs.costs)["auc"]
    return at_most(auc, limits["max_auc"], "AUC on the holdout")


def no_column_too_good(inputs: GateInputs, limits: Limits) -> Verdict:
    """No single column ranks the cases nearly as well as a model should."""
    verdicts = []
    for name in inputs.columns:
        auc = float(roc_auc_score(inputs.y, _ranking(inputs.frame[name], inputs.y)))
        text = f"AUC of {name} alone, the best of {len(inputs.columns)} columns"
        verdicts.append(at_most(max(auc, 1 - auc), limits["max_column_auc"], text))
    return worst_verdict(verdicts)


def no_value_tells(inputs: GateInputs, limits: Limits) -> Verdict:
    """No missing value and no single value of a column occurs only with the rarer outcome.

    A column that hardly ranks the cases may still reveal a few of them. For example, a value may
    be missing because of the outcome. Many cases of one bad hour share a value, so rates are
    averaged over days. A value on fewer than `min_days` days is not a pattern.
    """
    y = inputs.y == (1 if inputs.y.mean() < 0.5 else 0)
    days, _ = pd.factorize(inputs.days)
    verdicts = []
    for name in inputs.columns:
        codes, values = pd.factorize(inputs.frame[name], use_na_sentinel=False)
        counts = np.bincount(codes)
        daily = pd.Series(y).groupby([codes, days]).mean().groupby(level=0).agg(["mean", "count"])
        for code in np.flatnonzero(counts >= limits["min_value_cases"]):
            rate, n_days = daily.loc[code]
            if n_days >= limits["min_days"]:
                value = "no value" if pd.isna(values[code]) else f"the value {values[code]}"
                text = f"rarer outcome's daily share, {counts[code]:,} cases with {value} in {name}"
                verdicts.append(at_most(rate, limits["max_value_rate"], text))
    if inputs.columns and not verdicts:
        text = f"no value and no gap occurs in {limits['min_value_cases']} cases on enough days"
        return at_most(0.0, limits["max_value_rate"], text)
    return worst_verdict(verdicts)


def _ranking(values: pd.Series, y: np.ndarray) -> np.ndarray:
    """Return numbers with gaps at the median, and texts as the rate of the cases that have them."""
    if pd.api.types.is_numeric_dtype(values):
        return values.fillna(values.median()).fillna(0.0).to_numpy(dtype="float64")
    label = pd.Series(y, index=values.index)
    return label.groupby(values.fillna("")).transform("mean").to_numpy()
