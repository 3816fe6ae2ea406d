"""The candidate models with their search spaces, and the baseline that they must beat."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from usecase.columns import CATEGORIES, NUMBERS


def build_candidates(params: dict[str, Any]) -> dict[str, tuple[Pipeline, dict[str, Any]]]:
    """Return unfitted pipelines over a frame of `FEATURES`, each with its search space."""
    search = {
        f"model__{name}": values
        for name, values in params["training"]["search"].items()
        if name != "n_iter"
    }
    return {
        "logistic_regression": (_linear(params["seed"]), {}),
        "gradient_boosting": (_trees(params["seed"]), search),
    }


def _linear(seed: int) -> Pipeline:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=100)
    encode = ColumnTransformer(
        [("categories", categories, CATEGORIES), ("numbers", numbers, NUMBERS)]
    )
    return Pipeline(
        [("encode", encode), ("model", LogisticRegression(max_iter=300, random_state=seed))]
    )


def _trees(seed: int) -> Pipeline:
    # Ordinal codes perform as well as native categories here. Tools that evaluate or explain the
    # trees outside scikit-learn convert native categories wrongly, without an error.
    ordinal = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
    )
    encode = ColumnTransformer(
        [("categories", ordinal, CATEGORIES), ("numbers", "passthrough", NUMBERS)]
    )
    boosting = HistGradientBoostingClassifier(early_stopping=False, random_state=seed)
    return Pipeline([("encode", encode), ("model", boosting)])


def baseline(train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Return the known rate of the route and hour, shape (n_rows,): an answer without a model.

    Rates are shrunk towards the origin's rate with the weight of 20 flights. An unseen route and
    hour gets the origin's rate.
    """
    weight = 20.0
    by_origin = train.groupby("origin")["label"].mean()
    history = train.groupby(["origin", "dest", "hour"])["label"].agg(["sum", "count"])
    prior = rows["origin"].map(by_origin).fillna(train["label"].mean())
    groups = pd.MultiIndex.from_frame(rows[["origin", "dest", "hour"]])
    known = history.reindex(groups).fillna(0.0)
    smoothed = (known["sum"].to_numpy() + weight * prior.to_numpy()) / (
        known["count"].to_numpy() + weight
    )
    return np.asarray(smoothed, dtype="float64")
