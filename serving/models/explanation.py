"""Contribution of each feature to a prediction: SHAP's TreeExplainer on the served trees.

Contributions are in log-odds. Added to the model's mean over its training rows, they give the
prediction (path-dependent: weighted by the node counts of the fit). Models without trees are not
explained. The trees' categories are ordinal codes, so TreeExplainer evaluates exactly the served
trees; tests/serving/models/test_explanation.py compares it with a brute-force computation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.errors import Refusal
from serving.models.evaluator import Evaluator, FeatureValue


@dataclass(frozen=True)
class Explanation:
    """Contributions in log-odds of class 1: `base` and all `contributions` add up to `total`."""

    base: float
    contributions: dict[str, float]

    @property
    def total(self) -> float:
        return self.base + sum(self.contributions.values())


def explain_row(evaluator: Evaluator, row: Mapping[str, FeatureValue]) -> Explanation:
    """Explain one prediction. Raises `Refusal` (409) if the model is not served as trees."""
    if evaluator.trees is None:
        raise Refusal(
            409, "not explained", "The served model has no trees, so it can't be explained."
        )
    explainer = evaluator.explainer
    matrix = np.array([evaluator.encode_row(row)], dtype=np.float64)
    values = np.asarray(explainer.shap_values(matrix, check_additivity=False)).reshape(-1)
    base = float(np.ravel(explainer.expected_value)[0])
    return Explanation(base, dict(zip(evaluator.columns, values.tolist(), strict=True)))
