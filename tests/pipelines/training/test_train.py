"""Training data that scikit-learn refuses are named, and new columns do not stop the search."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.training.train import fit_candidates
from settings import LoopError, Settings
from tests.use_case import CATEGORIES, FEATURES, USE_CASE

ROOT = Path(__file__).parents[3]
NUMBER = next(name for name in FEATURES if name not in CATEGORIES)
N_CASES = 400


def cases(**columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=N_CASES) for name in FEATURES})
    frame = frame.assign(**{name: rng.choice(["a", "b"], N_CASES) for name in CATEGORIES})
    times = pd.date_range("2013-01-01", periods=N_CASES, freq="h", tz="UTC")
    frame = frame.assign(key=frame.index.astype(str), decision_time=times)
    return frame.assign(**{"label": rng.integers(0, 2, N_CASES), **columns})


def fit(known: pd.DataFrame, folder: Path) -> dict[str, Any]:
    params = Settings(home=ROOT).params()
    params["training"]["folds"] = 3
    params["training"]["search"] |= {"n_iter": 1, "max_iter": [5]}
    return fit_candidates(USE_CASE, known, cases().tail(50), params, folder)


def test_a_column_that_is_new_in_the_source_leaves_out_the_folds_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = np.where(np.arange(N_CASES) < N_CASES // 2 - 5, np.nan, 1.0)
    summary = fit(cases(**{NUMBER: late}), tmp_path)
    assert summary["gradient_boosting"]["trials"][0]["log_loss"] > 0
    assert f"fold 1 of 3 is left out: {NUMBER} has no value\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({NUMBER: np.nan}, f"{NUMBER} has no value"),
        ({NUMBER: np.inf}, f"{NUMBER} is infinite"),
        ({"label": 0}, "all have the same label"),
        ({"label": np.arange(N_CASES) > N_CASES - 10}, "fold 3 of 3 is left out: all have the"),
    ],
)
def test_cases_that_can_not_be_fitted_are_refused_by_name(
    columns: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(LoopError, match=problem):
        fit(cases(**columns), tmp_path)


def test_fewer_cases_than_folds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoopError, match="3 cases are too few for 3 folds"):
        fit(cases(label=np.arange(N_CASES) % 2).head(3), tmp_path)
