"""The contract: what a use case must state, what has a default, and what follows from its times."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contract import UseCase, load_use_case, use_case_names
from features.validated_cases import add_labels
from monitoring.measures import performance
from parameters import complete_parameters

ROOT = Path(__file__).parents[1]
STATED: dict[str, Any] = {
    "as_of": "2020-01-01", "first_day": "2019-01-01", "costs": {"miss": 4.0},
    "gates": {"max_auc": 0.9, "max_column_auc": 0.8},
}  # fmt: skip
START = pd.Timestamp("2020-03-02", tz="UTC").as_unit("us")


def with_times(cadence: timedelta, horizon: timedelta) -> UseCase:
    """Return a use case with other times; only they are asked for here."""
    shipped = load_use_case(use_case_names()[0])
    return type("Other", (type(shipped),), {"cadence": cadence, "horizon": horizon})()


@pytest.mark.parametrize("name", use_case_names())
def test_a_use_case_is_loaded_without_any_tool(name: str) -> None:
    code = (
        f"import sys, contract; contract.load_use_case({name!r});"
        "print(*{'pandas', 'numpy', 'pyarrow', 'feast', 'sklearn', 'mlflow', 'great_expectations'}"
        " & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "\n", "")


def test_what_has_no_default_must_be_stated() -> None:
    class Incomplete(UseCase):
        name = "incomplete"

    required = {
        "feeds", "schema", "fetch", "spine_feed", "label_feed", "cadence", "horizon", "spine",
        "labels", "categories", "numbers", "tables", "views", "candidates", "request", "key",
        "decision_time", "entity_row", "payload",
    }  # fmt: skip
    assert Incomplete.__abstractmethods__ == required
    with pytest.raises(TypeError, match="abstract"):
        Incomplete()  # type: ignore[abstract]


def test_an_unknown_use_case_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match="no use case 'nothing'"):
        load_use_case("nothing")


@pytest.mark.parametrize(
    ("own", "wrong"),
    [
        ({"trainning": {}}, "trainning: no parameter has this name"),
        ({"training": {"fold": 3}}, "training.fold: no parameter has this name"),
        ({"training": 3}, "training: must be a mapping"),
        ({"costs": {"miss": None}}, "costs.miss: missing"),
    ],
)
def test_a_mistake_in_the_parameters_is_named(own: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        complete_parameters(with_times(timedelta(days=1), timedelta(0)), {**STATED, **own})


def test_a_use_case_may_add_limits_of_its_own() -> None:
    own = {**STATED, "gates": STATED["gates"] | {"own_limit": 0.5}}
    params = complete_parameters(with_times(timedelta(days=1), timedelta(0)), own)
    assert params["gates"]["own_limit"] == 0.5
    assert params["gates"]["min_days"] == 5


def test_what_follows_from_cadence_and_horizon_may_still_be_set() -> None:
    daily = complete_parameters(with_times(timedelta(days=1), timedelta(0)), STATED)
    weekly = complete_parameters(with_times(timedelta(days=7), timedelta(days=28)), STATED)

    def times(params: dict[str, Any]) -> list[float]:
        monitoring, shadow = params["monitoring"], params["rollout"]["shadow"]
        return [
            params["training"]["holdout_days"], params["gates"]["max_label_age_days"],
            monitoring["window_days"], monitoring["label_hours"],
            monitoring["policy"]["cool_down_days"], shadow["days"], shadow["max_days"],
            params["rollout"]["canary"]["days"], monitoring["policy"]["every_days"],
        ]  # fmt: skip

    assert times(daily) == [14, 2, 14, 1, 14, 7, 14, 1, 28]
    assert times(weekly) == [98, 14, 126, 672, 98, 77, 154, 7, 84]
    own = {**STATED, "training": {"holdout_days": 3}, "rollout": {"shadow": {"days": 2}}}
    stated = complete_parameters(with_times(timedelta(days=7), timedelta(days=28)), own)
    assert (stated["training"]["holdout_days"], stated["rollout"]["shadow"]["days"]) == (3, 2)
    assert stated["rollout"]["shadow"]["max_days"] == 4


def test_a_cadence_that_the_horizon_makes_impossible_is_refused_with_the_shortest() -> None:
    monthly = {**STATED, "monitoring": {"policy": {"every_days": 28}}}
    complete_parameters(with_times(timedelta(days=1), timedelta(days=14)), monthly)
    with pytest.raises(ValueError, match=r"every_days is 28.*the shortest that works is 84"):
        complete_parameters(with_times(timedelta(days=7), timedelta(days=28)), monthly)
    by_need = {"monitoring": {"policy": {"every_days": 28, "triggers": ["calibration"]}}}
    complete_parameters(with_times(timedelta(days=7), timedelta(days=28)), {**STATED, **by_need})


def outcomes(early: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return 60 weekly cases with labels 28 days later; a yes is reported at once if `early`."""
    decided = START + pd.to_timedelta([7 * (n // 10) for n in range(60)], unit="D")
    cases = pd.DataFrame({"key": [f"case {n}" for n in range(60)], "decision_time": decided})
    label = pd.Series([n % 3 == 0 for n in range(60)]).astype("int8")
    known = cases["decision_time"] + timedelta(days=28)
    if early:
        known = known.where(label == 0, cases["decision_time"] + timedelta(days=2))
    labels = pd.DataFrame({"key": cases["key"], "label": label, "known_at": known})
    return cases, labels.sort_values("known_at", kind="stable", ignore_index=True)


@pytest.mark.parametrize("days", [29, 40, 50, 64, 80])
def test_an_early_yes_and_a_late_no_count_as_labels_at_the_horizon(days: int) -> None:
    as_of, horizon = START + timedelta(days=days), timedelta(days=28)
    early, late = (add_labels(*outcomes(flag), horizon, as_of) for flag in (True, False))
    pd.testing.assert_frame_equal(early, late)
    known = early.dropna(subset="label")
    assert len(known) == 10 * min(6, 1 + (days - 29) // 7)
    assert known["label"].mean() == pytest.approx(1 / 3, abs=0.1)
    # Without the horizon, the last weeks look as if every case were positive.
    naive = add_labels(*outcomes(early=True), timedelta(0), as_of)
    newest = naive["decision_time"] > as_of - timedelta(days=27)
    assert days > 70 or naive.loc[newest, "label"].dropna().eq(1).all()


def test_both_feeds_give_the_same_live_metrics() -> None:
    as_of = datetime(2020, 4, 20, tzinfo=UTC)
    measured = []
    for early in (True, False):
        cases, labels = outcomes(early)
        log = cases.assign(
            logged_at=cases["decision_time"], probability=[n / 60 for n in range(60)]
        )
        joined = performance.join_labels(log, labels, as_of, horizon=timedelta(days=28))
        costs = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}
        measured.append(performance.live_metrics(joined, costs, seed=1))
    assert measured[0] == measured[1]
    assert measured[0]["n"] == 30
