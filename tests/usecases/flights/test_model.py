"""The baseline matches rates by hand; candidates fit, are reproducible and accept gaps."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from serving.models import skops_file
from tests.slice_params import shipped_params
from tests.use_case import CATEGORIES, FEATURES, NUMBERS
from usecases.flights.model import baseline, behaviours, build_candidates
from usecases.flights.schema import CARRIERS, ORIGINS

PARAMS: dict[str, Any] = shipped_params()
NAMES = ["logistic_regression", "gradient_boosting"]


def past(rows: list[tuple[str, str, float, int, int]]) -> pd.DataFrame:
    """Return flights from (origin, dest, hour, number, number disrupted)."""
    parts = [
        pd.DataFrame({"origin": origin, "dest": dest, "hour": hour,
                      "label": [1] * bad + [0] * (count - bad)})
        for origin, dest, hour, count, bad in rows
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def route_hours(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["origin", "dest", "hour"])


def flights(n: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Return flights with missing values; more recent delays mean more disruptions."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.random((n, len(NUMBERS))), columns=NUMBERS)
    means = [name for name in NUMBERS if "mean_delay" in name]
    frame[means] = rng.normal(15, 30, (n, len(means)))
    around = frame["origin_delay_rate_2h"] + frame["carrier_delay_rate_2h"]
    logit = 3 * around + (frame["origin_mean_delay_2h"] + frame["origin_mean_delay_6h"]) / 40 - 5
    frame["label"] = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype("int8")
    gaps = rng.random((n, len(NUMBERS))) < 0.05
    frame[NUMBERS] = frame[NUMBERS].mask(gaps)
    return frame.assign(
        carrier=rng.choice(CARRIERS, n), origin=rng.choice(ORIGINS, n),
        dest=rng.choice(["ATL", "BOS", "IAH"], n),
    )  # fmt: skip


def small(name: str, seed: int = 1) -> Any:
    model, space = build_candidates(PARAMS | {"seed": seed})[name]
    return model.set_params(model__max_iter=30) if space else model


def test_baseline_by_hand() -> None:
    train = past([("JFK", "BOS", 8, 60, 30), ("JFK", "IAH", 9, 20, 2), ("LGA", "BOS", 8, 20, 1)])
    rates = baseline(
        train,
        route_hours(("JFK", "BOS", 8), ("JFK", "IAH", 9), ("LGA", "BOS", 8), ("JFK", "BOS", 9)),
    )
    # JFK's rate is 32 of 80 = 0.4, LGA's 1 of 20 = 0.05; each counts as 20 flights.
    assert rates.tolist() == pytest.approx(
        [(30 + 20 * 0.4) / 80, (2 + 20 * 0.4) / 40, (1 + 20 * 0.05) / 40, 0.4]
    )


def test_baseline_of_an_unseen_origin_is_the_overall_rate() -> None:
    train = past([("JFK", "BOS", 8, 30, 3), ("LGA", "BOS", 8, 10, 5)])
    assert baseline(train, route_hours(("EWR", "BOS", 8))).tolist() == pytest.approx([8 / 40])


def test_baseline_follows_the_order_of_rows() -> None:
    train = past([("JFK", "BOS", 8, 60, 30), ("LGA", "IAH", 9, 20, 2)])
    rows = route_hours(("LGA", "IAH", 9), ("JFK", "BOS", 8), ("LGA", "IAH", 9))
    rows.index = pd.Index([7, 3, 5])
    rates = baseline(train, rows)
    assert rates.dtype == np.float64
    assert rates[0] == rates[2] < rates[1]
    assert baseline(train, rows.iloc[::-1]).tolist() == rates[::-1].tolist()


def test_candidates_are_unfitted_and_their_searches_name_real_parameters() -> None:
    candidates = build_candidates(PARAMS)
    assert list(candidates) == NAMES
    for model, space in candidates.values():
        assert not hasattr(model, "classes_")
        assert "n_iter" not in " ".join(space)
        for name, values in space.items():
            assert len(values) > 0
            model.set_params(**{name: values[0]})
            assert model.get_params()[name] == values[0]


@pytest.fixture(scope="module", params=NAMES)
def fitted(request: pytest.FixtureRequest) -> Any:
    train = flights()
    return small(request.param).fit(train[FEATURES], train["label"])


def test_candidate_learns_and_accepts_missing_values(fitted: Any) -> None:
    train, new = flights(), flights(seed=9)
    prob = fitted.predict_proba(new[FEATURES])[:, 1]
    assert np.isfinite(prob).all()
    assert new[NUMBERS].isna().any().any()
    assert prob[new["label"] == 1].mean() > prob[new["label"] == 0].mean() + 0.05
    assert abs(prob.mean() - train["label"].mean()) < 0.05


def test_candidate_accepts_unseen_categories(fitted: Any) -> None:
    strange = flights(n=20).assign(carrier="ZZ", origin="QQQ", dest="YYY")
    strange[NUMBERS] = np.nan
    prob = fitted.predict_proba(strange[FEATURES])[:, 1]
    assert ((prob > 0) & (prob < 1)).all()


def test_candidate_behaves(fitted: Any) -> None:
    rows = flights(seed=9)
    # The rows' hours are random, so only real rows test the cases early and late.
    limits = PARAMS["gates"] | {"early_calm": 1.0, "late_storm": 0.0}
    found = behaviours(lambda r: fitted.predict_proba(r[FEATURES])[:, 1], rows, limits)
    assert [name for name, each in found.items() if not each.passed] == []


def test_candidate_can_be_stored(fitted: Any) -> None:
    rows = flights(n=50)[FEATURES]
    again = skops_file.load_skops(skops_file.dump_skops(fitted))
    assert np.array_equal(again.predict_proba(rows), fitted.predict_proba(rows))


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_gives_the_same_model(name: str) -> None:
    train = flights(n=400)
    first, second = (small(name, seed=5).fit(train[FEATURES], train["label"]) for _ in range(2))
    assert skops_file.dump_skops(first) == skops_file.dump_skops(second)
    assert first.get_params()["model__random_state"] == 5


def test_columns_are_named_once_and_split_into_text_and_numbers() -> None:
    assert [*CATEGORIES, *NUMBERS] == FEATURES
    assert len(set(FEATURES)) == len(FEATURES)
    for model, _ in build_candidates(PARAMS).values():
        columns = [name for _, _, names in model[0].transformers for name in names]
        assert sorted(columns) == sorted(FEATURES)
