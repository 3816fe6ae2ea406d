"""SHAP's contributions of the served trees equal Shapley values computed by their definition."""

import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from serving.errors import Refusal
from serving.models.evaluator import Evaluator, export_model
from serving.models.explanation import explain_row
from settings import Settings
from tests.serving.in_process import example_request, post_json, service_parts
from tests.use_case import USE_CASE

pytestmark = pytest.mark.filterwarnings("ignore")  # from SHAP's imports


def expected(tree: Any, x: list[float], known: frozenset[int], node: int = 0) -> float:
    """Return the tree's output for x with the features in `known`; node counts weigh the others."""
    left, right = tree["cleft"][node], tree["cright"][node]
    if left == -1:
        return float(tree["leaf_value"][node])
    feature, count = tree["split_index"][node], tree["data_count"]
    if feature in known:
        if math.isnan(x[feature]):
            chosen = left if tree["default_left"][node] else right
        else:
            chosen = left if x[feature] <= tree["threshold"][node] else right
        return expected(tree, x, known, chosen)
    whole = count[left] + count[right]
    return float(sum(count[c] / whole * expected(tree, x, known, c) for c in (left, right)))


def shapley(value: Callable[[frozenset[int]], float], n: int) -> list[float]:
    """Return the Shapley values by their definition, over all subsets of the other features."""
    values = []
    for feature in range(n):
        others = [other for other in range(n) if other != feature]
        total = 0.0
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for chosen in map(frozenset, combinations(others, size)):
                total += weight * (value(chosen | {feature}) - value(chosen))
        values.append(total)
    return values


def test_contributions_are_shapley_values(
    trees: Pipeline, accounts: pd.DataFrame, tmp_path: Path
) -> None:
    evaluator = Evaluator.load(tmp_path / "m", export_model(trees, tmp_path / "m"))
    assert evaluator.trees is not None
    model = evaluator.trees.model
    assert model is not None
    fields = (
        "cleft", "cright", "leaf_value", "split_index", "data_count", "default_left", "threshold"
    )  # fmt: skip
    forest = [
        {name: model.get_tree_accessor(number).get_field(name).tolist() for name in fields}
        for number in range(model.num_tree)
    ]
    rows = accounts[list(evaluator.columns)].astype(object)
    rows = rows.where(rows.notna(), None).to_dict("records")
    unknown = rows[0] | {"region": "an unknown region", "age": None}
    for row in [rows[1], unknown]:
        base, contributions = explain_row(evaluator, row)
        x = [float(code) for code in evaluator.encode_row(row)]
        brute = shapley(lambda known, x=x: sum(expected(tree, x, known) for tree in forest), len(x))
        assert np.allclose(list(contributions.values()), brute, atol=1e-9)
        logit = math.log((p := float(evaluator.predict([row])[0])) / (1 - p))
        assert base + sum(contributions.values()) == pytest.approx(logit, abs=1e-9)


def test_a_model_without_trees_is_not_explained(linear: Pipeline, tmp_path: Path) -> None:
    evaluator = Evaluator.load(tmp_path / "m", export_model(linear, tmp_path / "m"))
    with pytest.raises(Refusal, match="no trees"):
        explain_row(evaluator, dict.fromkeys(evaluator.columns))


def test_a_prediction_has_contributions_and_a_change_that_flips_it(tmp_path: Path) -> None:
    parts = service_parts(Settings(home=tmp_path))
    try:
        explanation = post_json(parts, "/explain", example_request()).json()
        answer = post_json(parts, "/predict", example_request()).json()
    finally:
        parts.close()
    assert explanation["probability"] == answer["probability"]
    total = explanation["base"] + sum(explanation["contributions"].values())
    assert total == pytest.approx(
        math.log(explanation["probability"] / (1 - explanation["probability"]))
    )
    request = USE_CASE.request().model_validate(example_request())
    changes = {change for change, _ in USE_CASE.alternatives(request)}
    assert explanation["flipped_by"] is None or explanation["flipped_by"] in changes
