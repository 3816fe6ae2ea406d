"""The candidates with their search spaces, the baseline that they must beat, slices, behaviours."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from contract import Change, Predict
from pipelines.training.estimators import boosted_trees, logistic_regression, search_space
from usecases.flights.columns import CATEGORIES, NUMBERS


def build_candidates(params: Mapping[str, Any]) -> dict[str, tuple[Pipeline, dict[str, Any]]]:
    """Return unfitted pipelines over a frame of `FEATURES`, each with its search space."""
    columns = CATEGORIES, NUMBERS, params["seed"]
    return {
        "logistic_regression": (logistic_regression(*columns), {}),
        "gradient_boosting": (boosted_trees(*columns), search_space(params)),
    }


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


def slices(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the slice of each row by carrier, origin and hour band; gates apply to each slice."""
    bands = pd.cut(
        frame["hour"], [-1, 8, 12, 16, 24], labels=["until 8", "9-12", "13-16", "from 17"]
    )
    return {
        "carrier": frame["carrier"].astype(str),
        "origin": frame["origin"].astype(str),
        "hour_band": bands.astype(str),
    }


def behaviours(
    predict: Predict, rows: pd.DataFrame, limits: Mapping[str, Any]
) -> dict[str, Change]:
    """Test the model's answers to changed inputs."""
    before = predict(rows)
    storm = rows.assign(
        origin_delay_rate_2h=1.0, origin_delay_rate_6h=0.9, origin_mean_delay_2h=120.0,
        origin_mean_delay_6h=100.0, carrier_delay_rate_2h=1.0, carrier_mean_delay_2h=120.0,
    )  # fmt: skip
    calm = rows.assign(
        origin_delay_rate_2h=0.0, origin_delay_rate_6h=0.0, origin_mean_delay_2h=-15.0,
        origin_mean_delay_6h=-15.0, carrier_delay_rate_2h=0.0, carrier_mean_delay_2h=-15.0,
        precip=0.0, visib=10.0,
    )  # fmt: skip
    # Only cancelled flights lack a tail number, so a withheld number must not move the answer.
    withheld = rows.assign(
        **{
            f"plane_{kind}_{hours}h": rows[f"carrier_{kind}_{hours}h"]
            for kind in ("delay_rate", "mean_delay")
            for hours in (6, 24)
        }
    )
    moved = float(np.mean(np.abs(predict(withheld) - before)))
    worse = float(np.mean(predict(storm)) - np.mean(before))
    better = float(np.mean(before) - np.mean(predict(calm)))
    # The simplest cases, which any model must get right: early in the day with no delays, and in
    # the evening after hours of delays.
    early_calm = float(np.mean(predict(calm.assign(hour=6.0, minute_of_day=360.0))))
    late_storm = float(np.mean(predict(storm.assign(hour=19.0, minute_of_day=1140.0))))
    return {
        "direction: delays all around raise the risk": Change(worse, limits["storm_raises"]),
        "direction: a calm day lowers the risk": Change(better, limits["calm_lowers"]),
        "invariance: a withheld tail number tells nothing": Change(
            moved, limits["tail_moves"], at_least=False
        ),
        "minimum: early on a calm day": Change(early_calm, limits["early_calm"], at_least=False),
        "minimum: late on a stormy day": Change(late_storm, limits["late_storm"]),
    }
