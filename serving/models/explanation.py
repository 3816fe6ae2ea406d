"""Contribution of each feature to a prediction: SHAP's TreeExplainer on the served trees.

Contributions are in log-odds. Added to the model's mean over its training rows, they give the
prediction (path-dependent: weighted by the node counts of the fit). Models without trees are not
explained. The trees' categories are ordinal codes, so TreeExplainer evaluates exactly the served
trees; tests/serving/models/test_explanation.py compares it with a brute-force computation.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from serving.errors import Refusal
from serving.models.evaluator import Evaluator, FeatureValue
from serving.models.trees import Trees


def explain_row(
    evaluator: Evaluator, row: Mapping[str, FeatureValue]
) -> tuple[float, dict[str, float]]:
    """Return the base and the contribution of each column; together, the prediction's log-odds.

    Raises `Refusal` (409) if the model is not served as trees.
    """
    if evaluator.trees is None:
        raise Refusal(
            409, "not explained", "The served model has no trees, so it can't be explained."
        )
    explainer = _explainer(evaluator.trees)
    matrix = np.array([evaluator.encode_row(row)], dtype=np.float64)
    values = np.asarray(explainer.shap_values(matrix, check_additivity=False)).reshape(-1)
    base = float(np.ravel(explainer.expected_value)[0])
    return base, dict(zip(evaluator.columns, values.tolist(), strict=True))


@lru_cache(maxsize=1)
def _explainer(trees: Trees) -> Any:
    """Return SHAP's explainer of the champion's trees. Creating it costs more than using it."""
    import shap  # takes seconds, so only explanations pay for it

    model = trees.model
    [base] = model.get_header_accessor().get_field("base_scores")
    return shap.TreeExplainer({
        "trees": [_shap_tree(model.get_tree_accessor(n)) for n in range(model.num_tree)],
        "base_offset": float(base),
        "internal_dtype": np.float64, "input_dtype": np.float64,
        "objective": "binary_crossentropy", "tree_output": "log_odds",
    })  # fmt: skip


def _shap_tree(tree: Any) -> dict[str, np.ndarray]:
    """Return the tree in SHAP's form for models that it does not support itself."""
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
