"""What spoke for an answer, feature by feature? SHAP's TreeExplainer on the trees as served.

In log-odds: they add up to the model's own from what it says on average of its training rows, with
the weights of the nodes as they were fitted (path-dependent). Only of models that are served as
trees: their categories are ordinal codes, so TreeExplainer's walk is the model's own
(tests/serving/models/test_explain.py holds it to a brute-force computation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.errors import Refusal
from serving.models.evaluator import Evaluator, FeatureValue


@dataclass(frozen=True)
class Explanation:
    """In log-odds of class 1: `base` and all `contributions` add up to `total`."""

    base: float
    contributions: dict[str, float]

    @property
    def total(self) -> float:
        return self.base + sum(self.contributions.values())


def explain_row(evaluator: Evaluator, row: Mapping[str, FeatureValue]) -> Explanation:
    """Raises `Refusal` if the model is not served as trees."""
    if evaluator.trees is None:
        raise Refusal(409, "not explained", "The served model has no trees to explain.")
    explainer = evaluator.explainer
    matrix = np.array([evaluator.codes_of(row)], dtype=np.float64)
    values = np.asarray(explainer.shap_values(matrix, check_additivity=False)).reshape(-1)
    base = float(np.ravel(explainer.expected_value)[0])
    return Explanation(base, dict(zip(evaluator.columns, values.tolist(), strict=True)))
