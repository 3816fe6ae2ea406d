"""Does the candidate know what nobody could have known? What is too good is a leak."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from pipelines.evaluation.gates.inputs import GateInputs
from pipelines.evaluation.gates.verdict import Limits, Verdict, at_most, worst_verdict
from usecase.evaluation import metrics


def not_too_good_to_be_true(evidence: GateInputs, limits: Limits) -> Verdict:
    """A result well above what the field knows is a leak until shown otherwise."""
    auc = metrics(evidence.y, evidence.candidate, evidence.costs)["auc"]
    return at_most("not too good to be true", auc, limits["max_auc"], "AUC on the holdout")


def no_column_too_good(evidence: GateInputs, limits: Limits) -> Verdict:
    """No column alone ranks the cases nearly as well as a model should."""
    found = []
    for name in evidence.columns:
        auc = float(roc_auc_score(evidence.y, _ranked(evidence.frame[name], evidence.y)))
        told = f"AUC of {name} alone, the best of {len(evidence.columns)} columns"
        limit = limits["max_column_auc"]
        found.append(at_most("no column too good", max(auc, 1 - auc), limit, told))
    return worst_verdict("no column too good", found)


def no_value_tells(evidence: GateInputs, limits: Limits) -> Verdict:
    """No gap in a column, and no single value, stands for the rarer outcome alone.

    A column may hardly rank the cases and still give a few of them away: by being absent, say,
    because of what happened. Many cases of one bad hour share a value, so days are averaged, and
    a value that occurs on fewer than `min_days` is no pattern.
    """
    y = evidence.y == (1 if evidence.y.mean() < 0.5 else 0)
    days, _ = pd.factorize(evidence.days)
    found = []
    for name in evidence.columns:
        codes, values = pd.factorize(evidence.frame[name], use_na_sentinel=False)
        counts = np.bincount(codes)
        daily = pd.Series(y).groupby([codes, days]).mean().groupby(level=0).agg(["mean", "count"])
        for code in np.flatnonzero(counts >= limits["min_value_cases"]):
            rate, n_days = daily.loc[code]
            if n_days < limits["min_days"]:
                continue
            shown = "no value" if pd.isna(values[code]) else f"the value {values[code]}"
            told = f"rarer outcome's daily share, {counts[code]:,} cases with {shown} in {name}"
            found.append(at_most("no value tells", rate, limits["max_value_rate"], told))
    if evidence.columns and not found:
        told = f"no value or gap is shared by {limits['min_value_cases']} cases on enough days"
        return at_most("no value tells", 0.0, limits["max_value_rate"], told)
    return worst_verdict("no value tells", found)


def _ranked(values: pd.Series, y: np.ndarray) -> np.ndarray:
    """Numbers as they are, gaps in the middle; texts by the rate of the cases that have them."""
    if pd.api.types.is_numeric_dtype(values):
        return values.fillna(values.median()).fillna(0.0).to_numpy(dtype="float64")
    label = pd.Series(y, index=values.index)
    return label.groupby(values.fillna("")).transform("mean").to_numpy()
