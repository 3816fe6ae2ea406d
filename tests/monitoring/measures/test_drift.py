"""Drift by the real Evidently: equal distributions do not drift; drifted columns are named."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring.measures import drift
from monitoring.pages import drift_report
from settings import LoopError

TEXTS, NUMBERS = ["region", "product"], ["amount", "age", "visits", "constant"]
FEATURES = [*TEXTS, *NUMBERS]
LIMITS = {"max_rows": 3000, "share": 0.5, "number": 0.2, "category": 0.1, "prediction": 0.2}


def accounts(n_rows: int = 4000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    probability = rng.beta(2, 5, n_rows)
    return pd.DataFrame(
        {
            "region": rng.choice(np.array(["north", "south", None], dtype=object), n_rows),
            "product": rng.choice(list("abcdefgh"), n_rows),
            "amount": rng.lognormal(3, 1, n_rows),
            "age": np.where(rng.random(n_rows) < 0.3, np.nan, rng.normal(40, 9, n_rows)),
            "visits": rng.integers(0, 5, n_rows).astype("float64"),
            "constant": 1.0,
            "probability": probability,
            "label": (rng.random(n_rows) < probability).astype("int8"),
        }
    )


def compare(current: pd.DataFrame, **limits: Any) -> dict[str, Any]:
    result, _ = drift.measure_drift(
        accounts(), current, features=FEATURES, categories=TEXTS, limits=LIMITS | limits, seed=1
    )
    return result


def drifted(result: dict[str, Any]) -> list[str]:
    return [name for name, column in result["features"].items() if column["drifted"]]


def test_more_rows_of_the_same_distribution_in_another_order_do_not_drift() -> None:
    current = accounts().sample(9000, replace=True, random_state=2).astype({"label": "float64"})
    result = compare(current[sorted(current)])
    assert drifted(result) == []
    assert result["share"] == 0.0
    assert list(result["features"]) == FEATURES
    assert not result["prediction"]["drifted"]
    assert result["target"] is not None
    assert not result["target"]["drifted"]
    assert (result["n_reference"], result["n_current"]) == (3000, 3000)
    assert result["missing_change"] < 0.05


def test_a_drifted_column_is_named_with_its_score() -> None:
    rows = accounts(seed=3)
    moved = rows.assign(
        amount=rows["amount"] * 2,
        product=rows["product"].replace(dict.fromkeys("efgh", "a")),
        probability=rows["probability"] ** 0.5,
        label=1,
    )
    result = compare(moved)
    assert drifted(result) == ["product", "amount"]
    assert result["share"] == pytest.approx(2 / 6)
    assert (
        result["features"]["amount"]["score"]
        > LIMITS["number"]
        > result["features"]["visits"]["score"]
    )
    assert result["prediction"]["drifted"]
    assert result["target"] is not None
    assert result["target"]["drifted"]


@pytest.mark.parametrize("n_rows", [3, 4000])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amount": lambda rows: rows["amount"] * 2, "label": 1, "region": "east", "constant": 2.0},
        {"age": lambda rows: rows["age"].where(rows["age"] < 60, np.inf), "label": np.nan},
    ],
)
def test_the_scores_are_those_of_evidentlys_report(changes: dict[str, Any], n_rows: int) -> None:
    current = accounts(seed=3).assign(**changes).head(n_rows)
    how: Any = {"features": FEATURES, "categories": TEXTS, "limits": LIMITS, "seed": 1}
    result, samples = drift.measure_drift(accounts(), current, **how)
    snapshot = drift_report.run_report(*samples, categories=TEXTS, limits=LIMITS)
    [_, *single] = snapshot.dict()["metrics"]  # the first counts the drifted columns
    reported = {
        metric["config"]["column"]: (
            pytest.approx(metric["value"], rel=1e-12, abs=1e-12),
            metric["config"]["threshold"],
            metric["config"]["method"],
        )
        for metric in single
    }
    columns = result["features"] | {drift.PREDICTION: result["prediction"]}
    if result["target"] is not None:
        columns["label"] = result["target"]
    assert {name: (c["score"], c["limit"], c["method"]) for name, c in columns.items()} == reported
    assert drift.measure_drift(accounts(), current, **how)[0] == result


def test_missing_values_are_measured_apart_from_the_distance() -> None:
    rows = accounts(seed=3)
    sparse = rows.assign(visits=rows["visits"].where(np.arange(len(rows)) % 2 == 0))
    result = compare(sparse)
    assert not result["features"]["visits"]["drifted"]
    assert result["missing_change"] == pytest.approx(0.5, abs=0.05)
    assert result["features"]["visits"]["missing_reference"] == 0.0


def test_an_infinite_number_counts_as_missing() -> None:
    rows = accounts(seed=3)
    most = rows.assign(visits=rows["visits"].where(np.arange(len(rows)) % 4 == 0, np.inf))
    result = compare(most)
    assert result["features"]["visits"]["missing_current"] == pytest.approx(0.75, abs=0.05)
    assert result["missing_change"] == pytest.approx(0.75, abs=0.05)
    result = compare(rows.assign(visits=-np.inf))
    assert list(result["unmeasured"]) == ["visits"]
    assert set(result["features"]) == set(FEATURES) - {"visits"}


def test_a_feature_without_a_value_or_a_column_is_named_and_the_others_are_measured() -> None:
    rows = accounts(seed=3).assign(visits=lambda rows: rows["visits"] + 9)
    how: Any = {"features": FEATURES, "categories": TEXTS, "limits": LIMITS, "seed": 1}
    whole, _ = drift.measure_drift(accounts(), rows, **how)
    lacking = rows.drop(columns="age").assign(amount=np.nan, region=None)
    result, samples = drift.measure_drift(accounts(), lacking, **how)
    without_values = ["region", "amount", "age"]
    assert list(result["unmeasured"]) == without_values
    assert result["features"] == {
        n: whole["features"][n] for n in ("product", "visits", "constant")
    }
    assert (result["prediction"], result["target"]) == (whole["prediction"], whole["target"])
    assert drifted(result) == ["visits"]
    assert result["share"] == pytest.approx(4 / 6), "what is no longer served has drifted"
    assert result["missing_change"] == 1.0
    assert drift_report.run_report(*samples, categories=TEXTS, limits=LIMITS) is not None
    problem = drift.describe_unmeasured(result)
    for name in without_values:
        assert f"{name} (no value in 3,000 rows of the prediction log)" in str(problem)
    assert drift.describe_unmeasured(whole) is None


@pytest.mark.parametrize("empty", [["probability"], FEATURES])
def test_without_a_prediction_or_any_feature_there_is_no_drift_check(empty: list[str]) -> None:
    with pytest.raises(LoopError, match="no value in 3,000 rows of the prediction log"):
        compare(accounts(seed=3).assign(**dict.fromkeys(empty, np.nan)))
    with pytest.raises(LoopError, match="no row in the prediction log"):
        compare(accounts(seed=3).head(0))


def test_a_number_logged_as_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        compare(accounts(seed=3).assign(amount="many"))


def test_the_target_needs_labels_and_some_are_enough() -> None:
    rows = accounts(seed=3)
    assert compare(rows.assign(label=np.nan))["target"] is None
    some = compare(rows.assign(label=rows["label"].where(np.arange(len(rows)) % 3 == 0)))
    assert some["target"] is not None
    assert not some["target"]["drifted"]
    assert some["target"]["missing_current"] == pytest.approx(2 / 3, abs=0.03)


def test_the_same_seed_draws_the_same_rows() -> None:
    current = accounts(seed=3)
    scores = [compare(current, max_rows=500)["features"]["amount"]["score"] for _ in range(2)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-12)
    assert scores[0] != pytest.approx(compare(current)["features"]["amount"]["score"], abs=1e-12)


def test_a_run_published_again_replaces_itself(tmp_path: Path) -> None:
    result, samples = drift.measure_drift(
        accounts(), accounts(seed=3), features=FEATURES, categories=TEXTS, limits=LIMITS, seed=1
    )
    json.dumps(result)  # the stored form
    html, workspace = tmp_path / "reports" / "drift.html", tmp_path / "evidently"
    for name, day in (("first", 15), ("second", 22), ("first", 15)):
        drift_report.publish_drift_report(
            samples, html, workspace, categories=TEXTS, limits=LIMITS, name=name,
            as_of=datetime(2013, 4, day, tzinfo=UTC),
        )  # fmt: skip
    from evidently.ui.workspace import Workspace

    space = Workspace(str(workspace))
    [project] = space.list_projects()
    runs = [space.get_run(project.id, run) for run in space.list_runs(project.id)]
    assert project.name == drift_report.PROJECT
    assert len(project.dashboard.model().panels) == 2
    assert sorted((run.name, run.timestamp.day) for run in runs) == [("first", 15), ("second", 22)]
    assert "</html>" in html.read_text()
    assert list(html.parent.iterdir()) == [html]
