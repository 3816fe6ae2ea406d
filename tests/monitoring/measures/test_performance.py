"""Performance with late labels: joins, coverage, metrics, intervals and estimates."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from monitoring.measures import performance
from monitoring.measures import scores as evaluation

START = datetime(2013, 4, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=14)
COSTS = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}


def hours(*values: float) -> pd.Series:
    return pd.to_datetime([START + timedelta(hours=value) for value in values], utc=True)


def log_of(keys: list[str], **columns: object) -> pd.DataFrame:
    """A log of predictions an hour apart, logged at their decision."""
    at = hours(*range(len(keys)))
    frame = pd.DataFrame({"key": keys, "decision_time": at, "logged_at": at, "probability": 0.5})
    return frame.assign(**columns)


def labels_of(**known: tuple[int, float]) -> pd.DataFrame:
    """Labels by key: the label, and the hours until it was known."""
    return pd.DataFrame(
        {
            "key": list(known),
            "label": np.array([label for label, _ in known.values()], dtype="int8"),
            "known_at": hours(*(hour for _, hour in known.values())),
        }
    )


def fortnight(n_rows: int = 4200, rate: float = 0.3, seed: int = 0) -> pd.DataFrame:
    """Calibrated, labelled predictions of 14 days, in the form that `join_labels` returns."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(2, 2 * (1 - rate) / rate, n_rows)
    return pd.DataFrame(
        {
            "key": [f"k{n}" for n in range(n_rows)],
            "decision_time": hours(*(np.arange(n_rows) * 14 * 24 / n_rows)),
            "probability": probability,
            "label": (rng.random(n_rows) < probability).astype("float64"),
        }
    )


def test_a_label_that_is_not_known_yet_is_no_label() -> None:
    # A label known exactly at the moment is in the next batch.
    labels = labels_of(a=(1, 10), b=(0, 14 * 24 - 0.1), c=(0, 14 * 24))
    joined = performance.join_labels(
        log_of(["a", "b", "c", "d"]), labels, AS_OF, horizon=timedelta(0)
    )
    assert joined["key"].tolist() == ["a", "b", "c", "d"]
    assert joined["label"].tolist()[:2] == [1, 0]
    assert joined["label"].isna().tolist() == [False, False, True, True]
    assert performance.label_coverage(joined) == 0.5


def test_the_delay_is_the_median_of_labels_known() -> None:
    joined = performance.join_labels(
        log_of(["a", "b", "c"]), labels_of(a=(1, 10), b=(0, 5)), AS_OF, horizon=timedelta(0)
    )
    assert performance.median_label_delay_hours(joined) == 7.0  # 10 - 0 and 5 - 1 hours
    assert performance.median_label_delay_hours(joined[joined["label"].isna()]) is None


def test_of_several_predictions_of_a_case_the_first_logged_counts() -> None:
    log = log_of(["a", "a", "a"], logged_at=hours(3, 1, 2), probability=[0.3, 0.1, 0.2])
    joined = performance.join_labels(log, labels_of(a=(1, 10)), AS_OF, horizon=timedelta(0))
    assert joined["probability"].tolist() == [0.1]


def test_of_several_labels_of_a_case_the_newest_known_counts() -> None:
    labels = pd.concat([labels_of(a=(0, 20)), labels_of(a=(1, 10)), labels_of(a=(1, 14 * 24 + 1))])
    joined = performance.join_labels(log_of(["a"]), labels, AS_OF, horizon=timedelta(0))
    assert joined["label"].tolist() == [0]


def test_the_order_of_log_and_labels_changes_nothing() -> None:
    keys = [f"k{n}" for n in range(50)]
    log, labels = log_of(keys), labels_of(**{key: (1, 5.0 + n) for n, key in enumerate(keys[:30])})
    shuffled = performance.join_labels(
        log.sample(frac=1, random_state=1),
        labels.sample(frac=1, random_state=2),
        AS_OF,
        horizon=timedelta(0),
    )
    straight = performance.join_labels(log, labels, AS_OF, horizon=timedelta(0))
    pd.testing.assert_frame_equal(straight, shuffled.reset_index(drop=True))


def test_metrics_are_those_of_the_labelled_rows() -> None:
    joined = fortnight()
    late = joined.assign(label=joined["label"].where(np.arange(len(joined)) % 4 != 0))
    known = late.dropna(subset="label")
    live = performance.live_metrics(late, COSTS, seed=1)
    alone = evaluation.metrics(known["label"], known["probability"], COSTS)
    assert {name: live[name] for name in alone} == alone
    assert live["coverage"] == 0.75
    assert live["n"] == len(known)


def test_the_interval_of_a_calibrated_model_holds_zero_and_of_a_shifted_one_does_not() -> None:
    joined = fortnight(seed=1)
    calibrated = performance.live_metrics(joined, COSTS, seed=1)
    shifted = performance.live_metrics(
        joined.assign(probability=(joined["probability"] + 0.1).clip(upper=1)), COSTS, seed=1
    )
    assert calibrated["bias_low"] < 0 < calibrated["bias_high"]
    assert 0 < shifted["bias_low"] < shifted["bias"] < shifted["bias_high"]
    assert calibrated["cost_low"] < calibrated["cost_per_1000"] < calibrated["cost_high"]


def test_days_and_not_cases_are_independent() -> None:
    joined = fortnight()
    by_luck = performance.live_metrics(joined, COSTS, seed=1)
    day = joined["decision_time"].dt.dayofyear
    # The same rate, all on half of the days: as many cases, and far less known about the next day.
    lumped = joined.assign(label=(day % 2 == 0).astype("float64"), probability=0.5)
    by_days = performance.live_metrics(lumped, COSTS, seed=1)
    assert (by_days["bias_high"] - by_days["bias_low"]) > 5 * (
        by_luck["bias_high"] - by_luck["bias_low"]
    )


def test_the_saving_is_against_the_better_single_answer() -> None:
    joined = fortnight(rate=0.3)
    live = performance.live_metrics(joined, COSTS, seed=1)
    y = joined["label"].mean()
    assert live["cost_without"] == pytest.approx(1000 * min(4 * y, 1 - y))
    assert live["saving"] == pytest.approx(1 - live["cost_per_1000"] / live["cost_without"])
    assert 0 < live["saving_low"] < live["saving"] < live["saving_high"]
    blind = performance.live_metrics(joined.assign(probability=0.9), COSTS, seed=1)
    assert blind["saving"] == pytest.approx(0)


def test_the_cost_of_the_last_week_is_estimated_without_labels() -> None:
    joined = fortnight(20000, seed=1).assign(label=np.nan)
    last = joined["decision_time"] >= AS_OF - timedelta(days=7)
    estimated = performance.estimated_cost(joined, COSTS, AS_OF)
    # Labels drawn by the probabilities cost what the probabilities let expect.
    p = joined["probability"][last].to_numpy()
    drawn = np.random.default_rng(3).random((200, len(p))) < p
    expected = np.mean([evaluation.cost_per_1000(each, p, COSTS) for each in drawn])
    assert estimated == pytest.approx(expected, rel=0.01)
    # Three sure answers and one even chance: a false alarm, half of the time.
    four = joined[last].head(4).assign(probability=[0.0, 1.0, 0.0, 0.5])
    assert performance.estimated_cost(four, COSTS, AS_OF) == pytest.approx(125)
    assert performance.estimated_cost(joined[~last], COSTS, AS_OF) is None


@pytest.mark.parametrize("label", [np.nan, 0.0, 1.0])
def test_labels_of_one_value_allow_no_metric(label: float) -> None:
    with pytest.raises(ValueError, match=r"of 50 predictions have a label"):
        performance.live_metrics(fortnight(50).assign(label=label), COSTS, seed=1)


def test_a_day_with_no_label_has_no_row() -> None:
    joined = fortnight(1400)
    last = joined["decision_time"] >= AS_OF - timedelta(days=1)
    days = performance.daily_performance(joined.assign(label=joined["label"].mask(last)), COSTS)
    assert len(days) == 13
    assert days["n"].sum() == (~last).sum()
    weighted = (days["cost_per_1000"] * days["n"]).sum() / days["n"].sum()
    known = joined[~last]
    assert weighted == pytest.approx(
        evaluation.cost_per_1000(known["label"], known["probability"], COSTS)
    )
