"""Slices: a biased slice and one without labels show, though the average hides them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring.measures import performance, slices
from tests import slice_params
from tests.use_case import CATEGORIES, USE_CASE

START = datetime(2013, 4, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=10)
COLUMN = "hour_band"


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    return slice_params.shipped_params()


def joined(n_rows: int = 9000) -> pd.DataFrame:
    """Calibrated predictions of ten days, labelled after twelve hours, in slices by hour."""
    rng = np.random.default_rng(4)
    at = pd.Timestamp(START) + pd.to_timedelta(np.arange(n_rows) * 10 / n_rows, unit="D")
    p = rng.beta(2, 5, n_rows)
    frame = pd.DataFrame({"decision_time": at, "probability": p, "hour": at.hour})
    for name in CATEGORIES:
        frame[name] = rng.choice(["a", "b"], n_rows)
    label = (rng.random(n_rows) < p).astype("float64")
    known = frame["decision_time"] + timedelta(hours=12)
    return frame.assign(label=np.where(known < AS_OF, label, np.nan), known_at=known)


def find_row(rows: list[dict[str, Any]], value: str) -> dict[str, Any]:
    [row] = [row for row in rows if row["slice"] == COLUMN and row["value"] == value]
    return row


def test_only_the_biased_slice_shows_a_bias(params: dict[str, Any]) -> None:
    frame = joined()
    early = frame["hour"] <= 8
    biased = frame.assign(probability=frame["probability"].where(~early, frame["probability"] / 4))
    good, bad = (
        slices.measure_slices(USE_CASE, each, each, params, AS_OF) for each in (frame, biased)
    )
    assert find_row(good, "until 8")["shown"] < 0.02
    shifted = find_row(bad, "until 8")
    assert shifted["bias_low"] < shifted["bias"] < shifted["bias_high"] < 0
    assert shifted["shown"] == -shifted["bias_high"] > 0.15
    assert shifted["cost_low"] < shifted["cost_per_1000"] < shifted["cost_high"]
    assert find_row(bad, "13-16") == find_row(good, "13-16")


def test_slices_add_up_to_the_whole(params: dict[str, Any]) -> None:
    frame = joined()
    rows = slices.measure_slices(USE_CASE, frame, frame, params, AS_OF)
    for kind in USE_CASE.slices(frame):
        assert sum(row["n"] for row in rows if row["slice"] == kind) == frame["label"].count()


def test_labels_that_stop_in_a_slice_show_after_a_day(params: dict[str, Any]) -> None:
    frame = joined()
    late = (frame["hour"] > 16) & (frame["decision_time"] >= AS_OF - timedelta(days=3))
    stopped = frame.assign(label=frame["label"].mask(late))
    rows = slices.measure_slices(USE_CASE, stopped, stopped, params, AS_OF)
    late_slice, early_slice = find_row(rows, "from 17"), find_row(rows, "until 8")
    assert (late_slice["missing"], early_slice["missing"]) == (1.0, 0.0)
    assert late_slice["due"] > params["monitoring"]["policy"]["min_labels_due"]
    assert performance.describe_missing_labels(stopped, params, AS_OF) is None
    none = stopped.assign(label=np.nan)
    assert "labels are missing (0% of" in str(
        performance.describe_missing_labels(none, params, AS_OF)
    )


def test_labels_that_are_not_due_yet_are_not_missing(params: dict[str, Any]) -> None:
    """A third of the labels of a champion's first two days is not due yet."""
    young = joined()
    young = young[young["decision_time"] >= AS_OF - timedelta(days=2)]
    assert performance.label_coverage(young) < params["monitoring"]["min_coverage"]
    assert performance.due_label_coverage(young, params, AS_OF) == 1.0
    assert performance.describe_missing_labels(young, params, AS_OF) is None
    assert performance.due_label_coverage(young, params, AS_OF - timedelta(days=5)) is None


def test_a_slice_without_any_label_is_listed_and_not_judged(params: dict[str, Any]) -> None:
    frame = joined()
    unlabelled = frame.assign(label=frame["label"].mask(frame["hour"] > 16))
    row = find_row(
        slices.measure_slices(USE_CASE, unlabelled, unlabelled, params, AS_OF), "from 17"
    )
    assert (row["n"], row["enough"], row["bias"], row["missing"]) == (0, False, None, 1.0)
