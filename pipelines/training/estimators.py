"""Pipelines that a use case may take as candidates; each has a fast served form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler


def search_space(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `training.search` as settings of the pipeline's step `model`."""
    search = params["training"]["search"]
    return {f"model__{name}": values for name, values in search.items() if name != "n_iter"}


def logistic_regression(categories: Sequence[str], numbers: Sequence[str], seed: int) -> Pipeline:
    """Return a pipeline that encodes, imputes and scales."""
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=100)
    encode = ColumnTransformer(
        [("categories", one_hot, list(categories)), ("numbers", scaled, list(numbers))]
    )
    return Pipeline(
        [("encode", encode), ("model", LogisticRegression(max_iter=300, random_state=seed))]
    )


def boosted_trees(categories: Sequence[str], numbers: Sequence[str], seed: int) -> Pipeline:
    """Return a pipeline of gradient-boosted trees, which take missing values as they are."""
    # Ordinal codes perform as well as native categories here. Tools that evaluate or explain the
    # trees outside scikit-learn convert native categories wrongly, without an error.
    ordinal = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
    )
    encode = ColumnTransformer(
        [("categories", ordinal, list(categories)), ("numbers", "passthrough", list(numbers))]
    )
    boosting = HistGradientBoostingClassifier(early_stopping=False, random_state=seed)
    return Pipeline([("encode", encode), ("model", boosting)])
