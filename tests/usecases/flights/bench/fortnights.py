"""Differences between healthy fortnights of January to March.

The limits of `params.yaml` are set above these differences, and from these months alone. At
each moment a model is evaluated on the fortnight before, refitted on all data, and monitored for a
fortnight.
"""

import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from year import cases

from monitoring.measures import drift, slices
from monitoring.measures import scores as evaluation
from tests.use_case import CATEGORIES, FEATURES, USE_CASE
from usecases.flights.model import baseline, build_candidates

FORTNIGHT = timedelta(days=14)
MOMENTS = [datetime(2013, 2, 4, tzinfo=UTC) + timedelta(days=7 * week) for week in range(7)]
NINETY = 2 * 1.645  # the width of a 90% interval, in standard errors
SHIFT = 0.05


def main() -> None:
    settings, frame = cases()
    params = settings.params()
    rows = pd.DataFrame([measure_at(frame, moment, params) for moment in MOMENTS])
    print("\n## Fortnights of January to March (`tests/usecases/flights/bench/fortnights.py`)\n")
    print(f"{len(rows)} moments, a week apart. Gradient boosting, first draw of the search.\n")
    print("| | min | median | max |\n|---|---|---|---|")
    for name in rows:
        values = rows[name]
        print(f"| {name} | {values.min():.3g} | {values.median():.3g} | {values.max():.3g} |")
    days = frame[frame["decision_time"] < datetime(2013, 4, 1, tzinfo=UTC)]
    weekly = days.groupby((days["decision_time"] - days["decision_time"].min()).dt.days // 7)
    print(f"\nStandard deviation of the weekly rate: {weekly['label'].mean().std():.3f}.")


def measure_at(frame: pd.DataFrame, moment: datetime, params: dict[str, Any]) -> dict[str, float]:
    """Return what gates and monitoring measure on the model of `moment`."""
    before = frame[frame["known_at"] < moment - FORTNIGHT]
    known = frame[frame["known_at"] < moment]
    decided = frame["decision_time"]
    holdout = frame[(decided >= moment - FORTNIGHT) & (frame["known_at"] < moment)]
    window = frame[(decided >= moment) & (decided < moment + FORTNIGHT)]
    evaluated, refit = fit(before, params), fit(known, params)
    judged, scores = predict(evaluated, holdout), predict(refit, window)
    expected = measure(holdout, judged, params)
    live = measure(window, scores, params)
    moved = drifted(holdout, judged, window, scores, params)
    rng = np.random.default_rng(params["seed"])
    shuffled = fit(known.assign(label=rng.permutation(known["label"])), params)
    y, costs = window["label"], params["costs"]
    older = evaluation.case_costs(y, predict(evaluated, window), costs)
    newer = evaluation.case_costs(y, scores, costs)
    off = np.mean([evaluation.cost_per_1000(y, np.clip(scores + sign * SHIFT, 0, 1), costs)
                   for sign in (-1, 1)])  # fmt: skip
    plain = evaluation.cost_per_1000(holdout["label"], baseline(before, holdout), costs)
    ratio = live["cost"] / expected["cost"]
    slice_bias = shown_bias(window, scores, moment + 2 * FORTNIGHT, params)
    refit_distance = float(np.abs(predict(refit, holdout) - judged).mean())
    noise = np.hypot(live["cost_se"] / live["cost"], expected["cost_se"] / expected["cost"])
    return {
        "AUC in the evaluation": expected["auc"],
        "share of the baseline's cost saved": 1 - expected["cost"] / plain,
        "calibration gap in the evaluation": expected["gap"],
        "calibration gap, live": live["gap"],
        "its standard error": live["gap_se"],
        f"relative rise of the cost after a shift of the scores by {SHIFT}": off / live["cost"] - 1,
        "live cost divided by the evaluation's": ratio,
        "its standard error ": ratio * noise,
        "live cost as a share of the best constant answer's": live["cost"] / live["cost_without"],
        "largest bias that a slice's interval shows": slice_bias,
        "distance of labels": moved["target"]["score"] if moved["target"] else np.nan,
        "share of drifted features": moved["share"],
        "distance of predictions": moved["prediction"]["score"],
        "change in a share of missing values": moved["missing_change"],
        "cost of the newer model minus the older's": 1000 * float(np.mean(newer - older)),
        "its standard error  ": 1000 * error(newer - older, window, params),
        "distance of the refit's scores from the evaluated model's": refit_distance,
        "the same, with shuffled labels": float(np.abs(predict(shuffled, holdout) - judged).mean()),
    }


def fit(known: pd.DataFrame, params: dict[str, Any]) -> Any:
    model, space = build_candidates(params)["gradient_boosting"]
    first = {name: values[0] for name, values in space.items()}
    return clone(model).set_params(**first).fit(known[FEATURES], known["label"])


def predict(model: Any, rows: pd.DataFrame) -> np.ndarray:
    return np.asarray(model.predict_proba(rows[FEATURES])[:, 1])


def error(values: np.ndarray, rows: pd.DataFrame, params: dict[str, Any]) -> float:
    """Return the standard error of the mean from a bootstrap over days."""
    days = rows["decision_time"].dt.floor("D")
    low, high = evaluation.day_bootstrap(values, days, params["seed"])
    return (high - low) / NINETY


def measure(rows: pd.DataFrame, scores: np.ndarray, params: dict[str, Any]) -> dict[str, float]:
    found = evaluation.metrics(rows["label"], scores, params["costs"])
    costs = 1000 * evaluation.case_costs(rows["label"], scores, params["costs"])
    return {
        "auc": found["auc"], "gap": found["calibration_gap"],
        "gap_se": error(scores - rows["label"].to_numpy(), rows, params),
        "cost": found["cost_per_1000"], "cost_se": error(costs, rows, params),
        "cost_without": 1000 * evaluation.constant_costs(rows["label"], params["costs"]).mean(),
    }  # fmt: skip


def shown_bias(
    rows: pd.DataFrame, scores: np.ndarray, as_of: datetime, params: dict[str, Any]
) -> float:
    """Return the largest distance from zero of a slice's bias interval, with all labels known."""
    joined = rows.assign(probability=scores).reset_index(drop=True)
    found = slices.measure_slices(USE_CASE, joined, joined[FEATURES], params, as_of)
    return max(each["shown"] for each in found if each["enough"])


def drifted(
    reference: pd.DataFrame, judged: np.ndarray, current: pd.DataFrame, scores: np.ndarray,
    params: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, _ = drift.measure_drift(
            reference.assign(probability=judged), current.assign(probability=scores),
            features=FEATURES, categories=CATEGORIES, limits=params["monitoring"]["drift"],
            seed=params["seed"],
        )  # fmt: skip
    return found


if __name__ == "__main__":
    main()
