"""What the whole hides: a slice that is off, and one whose labels have stopped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from monitoring.measures import performance, slices
from tests import slice_params
from usecase import evaluation
from usecase.columns import CATEGORIES

START = datetime(2013, 4, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=10)
COLUMN = "hour_band"


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(slice_params.SHIPPED.read_text())
    return found


def joined(n_rows: int = 9000) -> pd.DataFrame:
    """Calibrated predictions of ten days, with labels twelve hours later, in slices by the hour."""
    rng = np.random.default_rng(4)
    at = pd.Timestamp(START) + pd.to_timedelta(np.arange(n_rows) * 10 / n_rows, unit="D")
    p = rng.beta(2, 5, n_rows)
    frame = pd.DataFrame({"decision_time": at, "probability": p, "hour": at.hour})
    for name in CATEGORIES:
        frame[name] = rng.choice(["a", "b"], n_rows)
    label = (rng.random(n_rows) < p).astype("float64")
    known = frame["decision_time"] + timedelta(hours=12)
    return frame.assign(label=np.where(known < AS_OF, label, np.nan), known_at=known)


def of(rows: list[dict[str, Any]], value: str) -> dict[str, Any]:
    [found] = [row for row in rows if row["slice"] == COLUMN and row["value"] == value]
    return found


def test_a_calibrated_slice_shows_nothing_and_a_shifted_one_what_its_interval_holds(
    params: dict[str, Any],
) -> None:
    frame = joined()
    early = frame["hour"] <= 8
    off = frame.assign(probability=frame["probability"].where(~early, frame["probability"] / 4))
    well, ill = (slices.measure_slices(each, each, params, AS_OF) for each in (frame, off))
    assert of(well, "until 8")["shown"] < 0.02
    shifted = of(ill, "until 8")
    assert shifted["bias_low"] < shifted["bias"] < shifted["bias_high"] < 0
    assert shifted["shown"] == -shifted["bias_high"] > 0.15
    assert shifted["cost_low"] < shifted["cost_per_1000"] < shifted["cost_high"]
    assert of(ill, "13-16") == of(well, "13-16")


def test_slices_add_up_to_the_whole(params: dict[str, Any]) -> None:
    frame = joined()
    rows = slices.measure_slices(frame, frame, params, AS_OF)
    for kind in evaluation.slices(frame):
        assert sum(row["n"] for row in rows if row["slice"] == kind) == frame["label"].count()


def test_labels_that_stop_in_a_slice_show_after_a_day_and_not_in_the_whole(
    params: dict[str, Any],
) -> None:
    frame = joined()
    late = (frame["hour"] > 16) & (frame["decision_time"] >= AS_OF - timedelta(days=3))
    stopped = frame.assign(label=frame["label"].mask(late))
    found = slices.measure_slices(stopped, stopped, params, AS_OF)
    assert (of(found, "from 17")["missing"], of(found, "until 8")["missing"]) == (1.0, 0.0)
    assert of(found, "from 17")["due"] > params["monitoring"]["policy"]["min_labels_due"]
    assert performance.describe_missing_labels(stopped, params, AS_OF) is None
    none = stopped.assign(label=np.nan)
    assert "labels are missing (0% of" in str(
        performance.describe_missing_labels(none, params, AS_OF)
    )


def test_labels_that_are_not_due_yet_are_not_missing(params: dict[str, Any]) -> None:
    """In the first two days of a champion a third of its labels are still to come."""
    young = joined()
    young = young[young["decision_time"] >= AS_OF - timedelta(days=2)]
    assert performance.label_coverage(young) < params["monitoring"]["min_coverage"]
    assert performance.due_label_coverage(young, params, AS_OF) == 1.0
    assert performance.describe_missing_labels(young, params, AS_OF) is None
    assert performance.due_label_coverage(young, params, AS_OF - timedelta(days=5)) is None


def test_a_slice_without_any_label_is_told_and_not_judged(params: dict[str, Any]) -> None:
    frame = joined()
    gone = frame.assign(label=frame["label"].mask(frame["hour"] > 16))
    row = of(slices.measure_slices(gone, gone, params, AS_OF), "from 17")
    assert (row["n"], row["enough"], row["bias"], row["missing"]) == (0, False, None, 1.0)
