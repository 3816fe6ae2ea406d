"""SHAP's TreeExplainer for treelite's trees."""

from __future__ import annotations

from typing import Any

import numpy as np


def shap_explainer(trees: Any) -> Any:
    """Return SHAP's explainer of the trees. Creating it costs more than using it."""
    import shap  # takes seconds, so only explanations pay for it

    return shap.TreeExplainer(_as_shap(trees))


def _as_shap(trees: Any) -> dict[str, Any]:
    """Return the trees in SHAP's form for models that it does not support itself."""
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
