"""`Trees.predict`, by treelite's C function, equals treelite's own `gtil.predict`."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import treelite
from sklearn.ensemble import HistGradientBoostingClassifier
from treelite import gtil

from serving.models.trees import Trees
from settings import LoopError

COLUMNS = 7


def rows(n: int, seed: int = 0) -> np.ndarray:
    """Return rows with many missing values, and some huge ones."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, COLUMNS)) * rng.choice([1.0, 1e30], (n, COLUMNS))
    values[rng.random((n, COLUMNS)) < 0.3] = np.nan
    return values


@pytest.fixture(scope="module")
def model() -> treelite.Model:
    x = rows(500)
    labels = (np.nansum(np.sign(x), axis=1) > 0).astype(int)
    fitted = HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=5).fit(x, labels)
    return treelite.sklearn.import_model(fitted)


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_predictions_equal_those_of_gtil(model: treelite.Model, n: int) -> None:
    trees, inputs = Trees.from_bytes(model.serialize_bytes()), rows(n, seed=n)
    predicted = trees.predict(inputs)
    assert predicted.shape == (n,)
    assert np.array_equal(predicted, gtil.predict(model, inputs).reshape(-1))
    # Also with another memory layout, or another type.
    assert np.array_equal(trees.predict(np.asfortranarray(inputs)), predicted)
    assert np.array_equal(trees.predict(inputs[::-1]), predicted[::-1])
    small = inputs.astype(np.float32)
    assert np.array_equal(
        trees.predict(small), gtil.predict(model, small.astype(float)).reshape(-1)
    )


def test_threads_do_not_disturb_each_other(model: treelite.Model) -> None:
    trees, inputs = Trees(model), [rows(3, seed) for seed in range(200)]
    with ThreadPoolExecutor(8) as threads:
        predicted = list(threads.map(trees.predict, inputs))
    assert all(
        np.array_equal(one, gtil.predict(model, each).reshape(-1))
        for one, each in zip(predicted, inputs, strict=True)
    )


@pytest.mark.parametrize("shape", [(1, COLUMNS - 1), (1, COLUMNS + 1), (COLUMNS,)])
def test_rows_of_another_width_are_refused(model: treelite.Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(LoopError, match="7 columns"):
        Trees(model).predict(np.zeros(shape))


def test_a_model_without_a_single_probability_is_refused(model: treelite.Model) -> None:
    x = rows(300)
    several = HistGradientBoostingClassifier(max_iter=2).fit(x, np.arange(300) % 3)
    with pytest.raises(LoopError, match="not one probability"):
        Trees(treelite.sklearn.import_model(several))
    with pytest.raises(LoopError, match="cannot read"):
        Trees.from_bytes(b"nonsense")
