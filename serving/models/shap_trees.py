"""SHAP's TreeExplainer on the trees as treelite holds them."""

from __future__ import annotations

from typing import Any

import numpy as np


def shap_explainer(trees: Any) -> Any:
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
