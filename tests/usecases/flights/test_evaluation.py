"""Costs, metrics and slices match values by hand; behaviour tests detect bad models."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring.measures import scores as evaluation
from pipelines.evaluation.gates import soundness
from pipelines.evaluation.gates.verdict import GateInputs, run_gates
from tests.slice_params import shipped_params
from tests.use_case import CATEGORIES, FEATURES, NUMBERS
from usecases.flights.model import behaviours, slices
from usecases.flights.schema import CARRIERS, ORIGINS

COSTS = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}
PARAMS: dict[str, Any] = shipped_params()
LIMITS: dict[str, Any] = PARAMS["gates"]
Y, P = [1, 0, 1, 0], [0.8, 0.3, 0.25, 0.1]


def flights(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((n, len(NUMBERS))), columns=NUMBERS)
    means = [name for name in NUMBERS if "mean_delay" in name]
    frame[means] = rng.normal(5, 15, (n, len(means)))
    return frame.assign(
        carrier=rng.choice(CARRIERS, n), origin=rng.choice(ORIGINS, n), dest="ATL",
        hour=rng.integers(5, 24, n).astype("float64"), label=rng.integers(0, 2, n),
        decision_time=pd.date_range("2013-03-01", periods=n, freq="h", tz="UTC"),
    )  # fmt: skip


def test_metrics_by_hand() -> None:
    assert evaluation.metrics(Y, P, COSTS) == pytest.approx(
        {
            "auc": 3 / 4,  # of four pairs, only 0.25 and 0.3 are in the wrong order
            "log_loss": -sum(map(math.log, (0.8, 0.7, 0.25, 0.9))) / 4,
            "brier": (0.2**2 + 0.3**2 + 0.75**2 + 0.1**2) / 4,
            "calibration_gap": 0.5 - 0.3625,
            "calibration_error": (0.1 + 0.75 + 0.3 + 0.2) / 4,  # ten bins: one case in each
            "cost_per_1000": 250.0,
            "positive_rate": 0.75,
            "base_rate": 0.5,
            "n": 4.0,
        }
    )


@pytest.mark.parametrize(
    ("label", "prob", "cost"),
    [(1, 0.9, 0.0), (1, 0.2, 0.0), (1, 0.19999, 4.0), (0, 0.9, 1.0), (0, 0.2, 1.0), (0, 0.1, 0.0)],
)
def test_cost_of_one_flight(label: int, prob: float, cost: float) -> None:
    assert evaluation.case_costs([label], [prob], COSTS).tolist() == [cost]


def test_costs_come_from_the_parameters() -> None:
    costs = {"false_alarm": 2.0, "miss": 7.0, "threshold": 0.28}
    assert evaluation.case_costs(Y, P, costs).tolist() == [0.0, 2.0, 7.0, 0.0]
    assert evaluation.cost_per_1000(Y, P, costs) == 2250.0


def test_the_shipped_threshold_is_where_an_alarm_pays() -> None:
    costs = PARAMS["costs"]
    rate = costs["threshold"]
    assert rate * costs["miss"] == pytest.approx((1 - rate) * costs["false_alarm"])


@pytest.mark.parametrize("bad", [math.nan, -0.01, 1.01, math.inf])
def test_invalid_probabilities_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        evaluation.metrics(Y, [*P[:3], bad], COSTS)


@pytest.mark.filterwarnings("ignore:Only one class is present")
@pytest.mark.parametrize("label", [0, 1])
def test_one_label_alone_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match="label"):
        evaluation.metrics([label] * 4, P, COSTS)


def test_errors_that_cancel_count_in_the_calibration_error_and_not_in_the_gap() -> None:
    y, p = [0] * 5 + [1] * 5, [0.4] * 5 + [0.6] * 5
    assert evaluation.calibration_gap(y, p) == pytest.approx(0.0)
    assert evaluation.calibration_error(y, p, bins=2) == pytest.approx(0.4)
    assert evaluation.calibration_error([0, 1] * 5, [0.5] * 10, bins=1) == pytest.approx(0.0)
    assert evaluation.calibration_gap(y, [0.9] * 10) == pytest.approx(0.4)


def test_calibration_error_weighs_bins_by_their_cases() -> None:
    # Sorted by probability, three bins of 2, 1 and 1 cases: gaps 0.15, 0.7 and 0.1.
    y, p = [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9]
    expected = (2 * 0.15 + 0.7 + 0.1) / 4
    assert evaluation.calibration_error(y, p, bins=3) == pytest.approx(expected)
    order = [0, 3, 1, 2]
    mixed = ([values[at] for at in order] for values in (y, p))
    assert evaluation.calibration_error(*mixed, bins=3) == pytest.approx(expected)


def test_every_flight_is_in_one_slice_of_each_kind() -> None:
    hours = [0.0, 8.0, 9.0, 12.0, 13.0, 16.0, 17.0, 23.0]
    frame = pd.DataFrame({"hour": hours, "carrier": "UA", "origin": ["EWR", "JFK"] * 4})
    found = slices(frame)
    assert found["hour_band"].tolist() == [
        "until 8", "until 8", "9-12", "9-12", "13-16", "13-16", "from 17", "from 17",
    ]  # fmt: skip
    assert found["origin"].tolist() == ["EWR", "JFK"] * 4
    assert set(found["carrier"]) == {"UA"}


def risk(rows: pd.DataFrame) -> np.ndarray:
    """Score with a well-behaved model: the risk depends almost only on recent delays."""
    around = rows["origin_delay_rate_2h"] + rows["carrier_delay_rate_2h"]
    logit = 2 * around + rows["origin_mean_delay_6h"] / 40 + rows["plane_mean_delay_6h"] / 200 - 3
    return np.asarray(1 / (1 + np.exp(-logit)))


def trusts_the_tail_number(rows: pd.DataFrame) -> np.ndarray:
    same = rows["plane_delay_rate_6h"] == rows["carrier_delay_rate_6h"]
    return np.where(same, 0.95, risk(rows))


def shifts_both_ways(rows: pd.DataFrame) -> np.ndarray:
    """Score by the missing tail number too, with errors that cancel in the mean."""
    same = rows["plane_delay_rate_6h"] == rows["carrier_delay_rate_6h"]
    return risk(rows) + np.where(same, np.resize([0.2, -0.2], len(rows)), 0.0)


def only_storms(rows: pd.DataFrame) -> np.ndarray:
    """Score a bad day correctly, but a calm day like any other."""
    return np.maximum(risk(rows), 0.8)


MODELS: list[tuple[str, Callable[[pd.DataFrame], np.ndarray], str | None]] = [
    ("well-behaved", risk, None),
    ("ignores its inputs", lambda rows: np.full(len(rows), 0.25), "delays all around"),
    ("reversed", lambda rows: 1 - risk(rows), "delays all around"),
    ("a calm day is as any other", only_storms, "a calm day"),
    ("reads the missing tail number", trusts_the_tail_number, "a withheld tail number"),
    ("reads it, right on average", shifts_both_ways, "a withheld tail number"),
    ("answers nothing", lambda rows: np.full(len(rows), np.nan), "delays all around"),
]


@pytest.mark.parametrize(
    ("predict", "broken"), [each[1:] for each in MODELS], ids=[each[0] for each in MODELS]
)
def test_behaviours(predict: Callable[[pd.DataFrame], np.ndarray], broken: str | None) -> None:
    found = behaviours(predict, flights(), LIMITS)
    failed = " ".join(name for name, each in found.items() if not each.passed)
    assert (broken in failed) if broken else not failed


@pytest.mark.parametrize(
    ("predict", "broken"), [each[1:] for each in MODELS], ids=[each[0] for each in MODELS]
)
def test_gate_on_behaviour(
    predict: Callable[[pd.DataFrame], np.ndarray], broken: str | None
) -> None:
    frame = flights()
    none = np.full(len(frame), 0.5)
    evidence = GateInputs(
        frame,
        none,
        none,
        None,
        predict,
        slices(frame),
        {},
        COSTS,
        seed=1,
        behaviours=behaviours,
    )
    verdict = run_gates(evidence, LIMITS, (soundness.behaves,))[0]
    assert verdict["passed"] is (broken is None)
    assert "could not run" not in verdict["told"]
    if broken and verdict["value"] is not None:
        assert verdict["margin"] is not None
        assert verdict["margin"] < 0


def test_the_behaviour_gate_names_the_worst_or_the_closest_behaviour() -> None:
    frame = flights()
    none = np.full(len(frame), 0.5)

    def named_behaviour(predict: Callable[[pd.DataFrame], np.ndarray]) -> str:
        evidence = GateInputs(
            frame, none, none, None, predict, {}, {}, COSTS, seed=1, behaviours=behaviours
        )
        return soundness.behaves(evidence, LIMITS).told

    found = behaviours(risk, frame, LIMITS)
    margins = {name: abs(each.value - each.limit) for name, each in found.items()}
    assert named_behaviour(risk) == min(margins, key=lambda name: margins[name])
    assert "a calm day" in named_behaviour(only_storms)
    assert "a withheld tail number" in named_behaviour(trusts_the_tail_number)


def test_behaviours_change_only_columns_that_the_model_has() -> None:
    seen: list[pd.DataFrame] = []

    def remember(rows: pd.DataFrame) -> np.ndarray:
        seen.append(rows)
        return risk(rows)

    frame = flights()[FEATURES]
    kept = frame.copy()
    behaviours(remember, frame, LIMITS)
    assert len(seen) == 6
    for rows in seen:
        assert list(rows.columns) == FEATURES
        assert rows[CATEGORIES].equals(frame[CATEGORIES])
    assert frame.equals(kept)
    changed = [{c for c in FEATURES if not rows[c].equals(frame[c])} for rows in seen[1:]]
    assert all(changed)
