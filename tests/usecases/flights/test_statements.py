"""Of several statements about an entity, the newest known one counts at every moment."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from features.statements import newest
from usecases.flights.target import KEY, LEAD, labels, spine
from usecases.flights.windows import (
    MAX_DELAY,
    MIN_DELAY,
    add_counting_hours,
    windows_at_changes,
    windows_every_hour,
)

START = datetime(2013, 1, 2, tzinfo=UTC)
HOURS = 40
NAMES = {2: ("n2", "rate2", "mean2"), 24: ("n24", "rate24", "mean24")}
# A flight, the minute of the statement, its tail number and its delay.
STATEMENT = st.tuples(
    st.integers(1, 3), st.integers(0, HOURS * 60), st.sampled_from(["N1", "N2", None]),
    st.sampled_from([None, -90, 0, 14, 15, 300]),
)  # fmt: skip


def outcomes(statements: list[tuple[int, int, str | None, int | None]]) -> pd.DataFrame:
    rows = pd.DataFrame(statements, columns=["flight", "minute", "tailnum", "arr_delay"])
    rows = rows.sort_values("minute", kind="stable", ignore_index=True)
    return rows.assign(
        carrier="AA", origin="JFK", sched_dep=pd.Timestamp(START),
        sched_arr=(START + pd.to_timedelta(rows["flight"] * 300, unit="min")).astype(
            "datetime64[us, UTC]"
        ),
        known_at=(START + pd.to_timedelta(rows["minute"], unit="min")).astype(
            "datetime64[us, UTC]"
        ),
        arr_delay=rows["arr_delay"].astype("float64"), tailnum=rows["tailnum"].astype(object),
    )  # fmt: skip


def expected(rows: pd.DataFrame, tail: str, hour: int, window: int) -> tuple[float, float, float]:
    """Compute by definition: the newest statement of each flight before the hour."""
    count, late, delays = 0, 0, []
    before = rows[rows["minute"] < hour * 60]
    for _, of_flight in before.groupby("flight"):
        last = of_flight.iloc[-1]
        delay = 0 if np.isnan(last["arr_delay"]) else last["arr_delay"]
        landed = min(last["minute"], last["flight"] * 300 + delay)  # not the statement
        if last["tailnum"] == tail and landed // 60 + 1 > hour - window:
            count += 1
            late += bool(np.isnan(last["arr_delay"]) or last["arr_delay"] >= 15)
            if not np.isnan(last["arr_delay"]):
                delays.append(min(max(last["arr_delay"], MIN_DELAY), MAX_DELAY))
    return (
        count, late / count if count else np.nan, float(np.mean(delays)) if delays else np.nan
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(STATEMENT, min_size=1, max_size=12))
def test_windows_count_the_newest_statement_known_at_each_hour(statements):
    rows = outcomes(statements)
    counted = add_counting_hours(rows).dropna(subset=["tailnum"])
    start, end = pd.Timestamp(START), pd.Timestamp(START) + timedelta(hours=HOURS)
    dense = windows_every_hour(counted, "tailnum", ["N1", "N2"], NAMES, start, end)
    points = windows_at_changes(counted, "tailnum", NAMES)
    for row in dense.to_dict("records"):
        hour = int((row["event_timestamp"] - start) / timedelta(hours=1))
        known = points[
            (points["tailnum"] == row["tailnum"])
            & (points["event_timestamp"] <= row["event_timestamp"])
        ]
        for window, columns in NAMES.items():
            wanted = expected(rows, row["tailnum"], hour, window)
            found = [row[column] for column in columns]
            np.testing.assert_allclose(found, wanted, equal_nan=True)
            # A window is constant between change points, and empty before the first.
            last = known[list(columns)].iloc[-1] if len(known) else (0, np.nan, np.nan)
            np.testing.assert_allclose(list(last), wanted, equal_nan=True)


def test_the_newest_row_before_a_moment_counts_and_rows_keep_their_order():
    at = [START + timedelta(hours=hour) for hour in (3, 1, 2, 2, 5)]
    rows = pd.DataFrame({"key": ["a", "b", "a", "b", "a"], "known_at": at, "n": range(5)})
    assert newest(rows, ["key"])["n"].tolist() == [3, 4]
    assert newest(rows, ["key"], before=START + timedelta(hours=5))["n"].tolist() == [0, 3]
    assert newest(rows, ["key"], before=START)["n"].tolist() == []
    same = pd.DataFrame({"key": ["a", "a"], "known_at": [START] * 2, "n": [1, 2]})
    assert newest(same, ["key"])["n"].tolist() == [2], "of two known together the later row counts"


def test_a_case_is_the_flight_as_scheduled_at_its_decision_time():
    departure = pd.Timestamp(START) + timedelta(days=1)
    decided = departure - LEAD

    def tail(*statements: tuple[pd.Timestamp, str]) -> str:
        rows = pd.DataFrame(statements, columns=["known_at", "tailnum"]).assign(
            carrier="AA", flight=1, origin="JFK", dest="LAX", sched_dep=departure
        )
        (found,) = spine(rows)["tailnum"]
        return str(found)

    hour = timedelta(hours=1)
    first = (decided - 9 * hour, "N1")
    assert tail(first, (decided, "N2")) == "N2"
    assert tail(first, (decided + hour, "N2")) == "N1"
    assert tail((decided + hour, "N1"), (decided + 2 * hour, "N2")) == "N1"
    assert tail(first, (decided - hour, "N2"), (decided + hour, "N3")) == "N2"
    assert KEY == ["carrier", "flight", "origin", "sched_dep"]


def test_a_repeated_label_is_known_since_its_first_statement():
    rows = outcomes([(1, 60, "N1", 0), (1, 600, "N1", 0), (1, 900, "N1", 300), (2, 700, "N1", 0)])
    stated = labels(rows.assign(dest="LAX"))
    assert stated["label"].tolist() == [0, 0, 1]
    counts = newest(stated, ["key"], before=START + timedelta(minutes=900)).set_index("key")
    known = {key[-5]: at for key, at in counts["known_at"].items()}  # by flight number
    assert known == {
        "1": START + timedelta(minutes=60), "2": START + timedelta(minutes=700),
    }  # fmt: skip
