"""The served form predicts like scikit-learn, and refuses other models, files and rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from serving.models.evaluator import Evaluator, export_model
from settings import LoopError

COLUMNS = ["region", "product", "amount", "age", "visits"]
EXTREMES = [0.0, -0.0, 1.0, -1e308, 1e308, 5e-324, np.inf, -np.inf, np.nan, 2.0**53 + 1]


def fuzzed(model: Pipeline, accounts: pd.DataFrame, *, infinities: bool) -> pd.DataFrame:
    """Return rows with gaps, unknown texts, extremes, and values on the model's own thresholds."""
    rng = np.random.default_rng(7)
    n_rows = 4000
    numbers = [v for v in EXTREMES if infinities or not np.isinf(v)]
    if not infinities:
        numbers = [v for v in numbers if not abs(v) > 1e100]
    mapper = getattr(model[-1], "_bin_mapper", None)
    borders = [] if mapper is None else [v for b in mapper.bin_thresholds_[2:] for v in b]
    pool = np.array([*numbers, *borders])
    texts = np.array(["north", "south", "west", "", "unknown", "é", None, *"abcdefghz"], object)
    rows = {c: rng.choice(texts, n_rows) for c in COLUMNS[:2]}
    rows |= {c: rng.choice(np.append(pool, accounts[c].to_numpy()), n_rows) for c in COLUMNS[2:]}
    return pd.DataFrame(rows)


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows like the online reader: Python values, None for missing ones."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(column): value for column, value in row.items()} for row in rows]


def served(model: Pipeline, folder: Path) -> Evaluator:
    return Evaluator.load(folder, export_model(model, folder))


def kind(folder: Path) -> str:
    return str(json.loads((folder / "evaluator.json").read_text())["kind"])


def test_trees_equal_scikit_learn(trees: Pipeline, accounts: pd.DataFrame, tmp_path: Path) -> None:
    evaluator = served(trees, tmp_path)
    rows = fuzzed(trees, accounts, infinities=True)
    expected = trees.predict_proba(rows)[:, 1]

    assert kind(tmp_path) == "trees"
    assert np.abs(evaluator.predict_frame(rows) - expected).max() < 1e-12
    assert np.abs(evaluator.predict(as_records(rows)) - expected).max() < 1e-12
    assert len(np.unique(expected)) > 1000


def test_linear_model_is_served_as_itself(
    linear: Pipeline, accounts: pd.DataFrame, tmp_path: Path
) -> None:
    evaluator = served(linear, tmp_path)
    rows = fuzzed(linear, accounts, infinities=False)
    expected = linear.predict_proba(rows)[:, 1]

    assert np.array_equal(evaluator.predict_frame(rows), expected)
    assert np.array_equal(evaluator.predict(as_records(rows)), expected)
    assert kind(tmp_path) == "sklearn"


def test_trees_fitted_with_nan_for_a_gap_in_a_text(
    trees: Pipeline, accounts: pd.DataFrame, tmp_path: Path
) -> None:
    """scikit-learn gives None its own code, but maps NaN to NaN. A mixture of both is refused."""
    rows, label = accounts[COLUMNS], accounts["label"]
    gaps = rows.replace({"region": {None: np.nan}})
    model = clone(trees).fit(gaps, label)
    expected = model.predict_proba(gaps)[:, 1]
    assert np.abs(served(model, tmp_path).predict(as_records(gaps)) - expected).max() < 1e-12

    mixed = rows.copy()
    mixed.loc[0, "region"] = np.nan
    with pytest.raises(LoopError, match="both None and NaN"):
        export_model(clone(trees).fit(mixed, label), tmp_path)


def test_one_row_is_like_many(trees: Pipeline, accounts: pd.DataFrame, tmp_path: Path) -> None:
    evaluator = served(trees, tmp_path)
    rows = as_records(accounts.head(20))
    together = evaluator.predict(rows)
    assert together.dtype == np.float64
    assert [evaluator.predict([row])[0] for row in rows] == together.tolist()
    assert evaluator.predict([]).shape == (0,)
    assert evaluator.predict_frame(accounts.head(0)).shape == (0,)


def test_gap_in_a_text_is_the_same_as_none_or_nan(
    trees: Pipeline, linear: Pipeline, accounts: pd.DataFrame, tmp_path: Path
) -> None:
    row = as_records(accounts.head(1))[0]
    for model in (trees, linear):
        evaluator = served(model, tmp_path)
        none, nan = (evaluator.predict([row | {"region": gap}])[0] for gap in (None, np.nan))
        assert none == nan
        assert none != evaluator.predict([row | {"region": "north"}])[0]


def test_wrong_rows_are_refused(trees: Pipeline, accounts: pd.DataFrame, tmp_path: Path) -> None:
    evaluator = served(trees, tmp_path)
    row = as_records(accounts.head(1))[0]
    without = {column: value for column, value in row.items() if column != "age"}
    with pytest.raises(LoopError, match="age"):
        evaluator.predict([without])
    with pytest.raises(LoopError, match="age"):
        evaluator.predict_frame(accounts.drop(columns="age"))
    with pytest.raises(LoopError, match="numbers"):
        evaluator.predict([row | {"age": "old"}])
    with pytest.raises(LoopError, match="numbers"):
        evaluator.predict_frame(accounts.assign(age="old"))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibrated_trees_are_served_as_themselves(
    method: str, trees: Pipeline, accounts: pd.DataFrame, tmp_path: Path
) -> None:
    rows = accounts[COLUMNS]
    calibrated = CalibratedClassifierCV(clone(trees[-1]), method=method, cv=2)
    model = Pipeline([("encode", clone(trees[0])), ("model", calibrated)])
    evaluator = served(model.fit(rows, accounts["label"]), tmp_path)
    assert kind(tmp_path) == "sklearn"
    assert np.array_equal(evaluator.predict_frame(rows), model.predict_proba(rows)[:, 1])


def test_a_model_that_would_not_load_is_not_exported(
    accounts: pd.DataFrame, tmp_path: Path
) -> None:
    foreign = make_pipeline(FunctionTransformer(as_records), LogisticRegression())
    foreign[-1].classes_ = np.array([0, 1])
    foreign[0].feature_names_in_ = np.array(COLUMNS, dtype=object)
    with pytest.raises(LoopError, match="TRUSTED_TYPES"):
        export_model(foreign, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_served_is_not_exported(
    trees: Pipeline, linear: Pipeline, accounts: pd.DataFrame, tmp_path: Path
) -> None:
    rows, label = accounts[COLUMNS], accounts["label"]
    with pytest.raises(LoopError, match="Only a Pipeline"):
        export_model(trees[-1], tmp_path)
    with pytest.raises(LoopError, match="classes 0 and 1"):
        export_model(clone(linear).fit(rows, label + 1), tmp_path)
    with pytest.raises(LoopError, match="on a frame"):
        export_model(
            make_pipeline(LogisticRegression()).fit(rows[["visits"]].to_numpy(), label), tmp_path
        )
    with pytest.raises(LoopError, match="None, not NaN"):
        export_model(clone(linear).fit(rows.replace({"region": {None: np.nan}}), label), tmp_path)
