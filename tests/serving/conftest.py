"""Small models and their data for the tests of serving."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

TEXTS, NUMBERS = ["region", "product"], ["amount", "age", "visits"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Under contention, OpenMP's threads turn a fit of milliseconds into half a minute."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def accounts() -> pd.DataFrame:
    """Return 3,000 rows with gaps in texts and numbers, and a label (0 or 1) that follows them."""
    rng = np.random.default_rng(0)
    n_rows = 3000
    frame = pd.DataFrame(
        {
            "region": rng.choice(np.array(["north", "south", "west", None], dtype=object), n_rows),
            "product": rng.choice(list("abcdefgh"), n_rows),
            "amount": rng.normal(size=n_rows) * 1e6,
            "age": np.where(rng.random(n_rows) < 0.2, np.nan, rng.normal(size=n_rows)),
            "visits": rng.integers(0, 5, n_rows).astype("float64"),
        }
    )
    logit = frame["amount"] / 1e6 + (frame["region"] == "north") - frame["visits"] / 3
    frame["label"] = (rng.random(n_rows) < 1 / (1 + np.exp(-logit))).astype("int8")
    return frame


def _fit(texts: object, numbers: object, model: object, data: pd.DataFrame) -> Pipeline:
    encode = ColumnTransformer([("categories", texts, TEXTS), ("numbers", numbers, NUMBERS)])
    return Pipeline([("encode", encode), ("model", model)]).fit(
        data[[*TEXTS, *NUMBERS]], data["label"]
    )


def fit_trees(data: pd.DataFrame) -> Pipeline:
    ordinal = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
    )
    boosting = HistGradientBoostingClassifier(max_iter=30, random_state=0)
    return _fit(ordinal, "passthrough", boosting, data)


def fit_linear(data: pd.DataFrame) -> Pipeline:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10)
    return _fit(one_hot, numbers, LogisticRegression(max_iter=300), data)


@pytest.fixture(scope="session")
def trees(accounts: pd.DataFrame) -> Pipeline:
    return fit_trees(accounts)


@pytest.fixture(scope="session")
def linear(accounts: pd.DataFrame) -> Pipeline:
    return fit_linear(accounts)


@pytest.fixture(scope="session")
def refit(accounts: pd.DataFrame) -> dict[str, Pipeline]:
    """Return the same two models from a second fit on the same rows."""
    return {"trees": fit_trees(accounts.copy()), "linear": fit_linear(accounts.copy())}
