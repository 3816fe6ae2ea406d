"""What spoke for an answer, feature by feature? SHAP's TreeExplainer on the trees as served.

In log-odds: they add up to the model's own from what it says on average of its training rows, with
the weights of the nodes as they were fitted (path-dependent). Only of models that are served as
trees: their categories are ordinal codes, so TreeExplainer's walk is the model's own
(tests/serving/test_explain.py holds it to a brute-force computation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import Refused
from serving.evaluator import Evaluator, Value


@dataclass(frozen=True)
class Explanation:
    """In log-odds of class 1: `base` and all `contributions` add up to `total`."""

    base: float
    contributions: dict[str, float]

    @property
    def total(self) -> float:
        return self.base + sum(self.contributions.values())


def explain(evaluator: Evaluator, row: Mapping[str, Value]) -> Explanation:
    """Raises `Refused` if the model is not served as trees."""
    if evaluator.trees is None:
        raise Refused(409, "not explained", "The served model has no trees to explain.")
    explainer = evaluator.explainer
    matrix = np.array([evaluator.codes_of(row)], dtype=np.float64)
    values = np.asarray(explainer.shap_values(matrix, check_additivity=False)).reshape(-1)
    base = float(np.ravel(explainer.expected_value)[0])
    return Explanation(base, dict(zip(evaluator.columns, values.tolist(), strict=True)))


def explainer(trees: Any) -> Any:
    """SHAP's explainer of treelite's trees; to make one costs more than to use it."""
    import shap  # seconds, which only who asks for an explanation waits

    return shap.TreeExplainer(_as_shap(trees))


def _as_shap(trees: Any) -> dict[str, Any]:
    """The same trees in the form in which SHAP takes those that it does not know."""
    [base] = trees.get_header_accessor().get_field("base_scores")
    return {
        "trees": [_tree(trees.get_tree_accessor(number)) for number in range(trees.num_tree)],
        "base_offset": float(base),
        "internal_dtype": np.float64,
        "input_dtype": np.float64,
        "objective": "binary_crossentropy",
        "tree_output": "log_odds",
    }


def _tree(tree: Any) -> dict[str, np.ndarray]:
    left, right = tree.get_field("cleft"), tree.get_field("cright")
    leaf = left == -1
    return {
        "children_left": left,
        "children_right": right,
        "children_default": np.where(tree.get_field("default_left") == 1, left, right),
        "features": np.where(leaf, -1, tree.get_field("split_index")),
        "thresholds": tree.get_field("threshold").astype(np.float64),
        "values": np.where(leaf, tree.get_field("leaf_value"), 0.0).reshape(-1, 1),
        "node_sample_weight": tree.get_field("data_count").astype(np.float64),
    }
