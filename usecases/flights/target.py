"""The prediction target: the cases, their decision times, and their labels."""

from datetime import timedelta

import numpy as np
import pandas as pd

from features.statements import changed_statements
from usecases.flights.columns import KEY

TIME_ZONE = "America/New_York"
LEAD = timedelta(hours=2)
LATE_MINUTES = 15
# Replaces a missing tail number by a key that no plane has. Feast raises on a null join key, and a
# missing number would leak the label: every flight without one was cancelled.
UNKNOWN_TAIL = "UNKNOWN"


def key(flights: pd.DataFrame) -> pd.Series:
    """Return one string per flight: scheduled departure (UTC), carrier, number, origin."""
    # The same strings as strftime, which is slower because it formats one row at a time.
    minutes = flights["sched_dep"].dt.tz_localize(None).to_numpy("datetime64[m]")
    departures = np.datetime_as_string(minutes, timezone="UTC").astype(object)
    return (
        pd.Series(departures, index=flights.index)
        + ":" + flights["carrier"]
        + ":" + flights["flight"].astype(str)
        + ":" + flights["origin"]
    )  # fmt: skip


def spine(schedule: pd.DataFrame) -> pd.DataFrame:
    """Return the cases, one per scheduled flight: `key`, `decision_time`, entities, request data.

    `decision_time` (UTC) is two hours before scheduled departure. The columns are those of a
    request, so training and serving look features up by the same keys. Of several rows about a
    flight, the newest known at its decision time counts, or else the first.
    """
    schedule = _known_at_decision(schedule)
    return pd.DataFrame(
        {
            "key": key(schedule),
            "decision_time": schedule["sched_dep"] - LEAD,
            "carrier": schedule["carrier"],
            "flight": schedule["flight"],
            "origin": schedule["origin"],
            "dest": schedule["dest"],
            "tailnum": schedule["tailnum"].fillna(UNKNOWN_TAIL),
            "route": schedule["origin"] + "-" + schedule["dest"],
            "sched_dep_epoch": schedule["sched_dep"].astype("int64") // 1_000_000,
        }
    )


def _known_at_decision(schedule: pd.DataFrame) -> pd.DataFrame:
    """Return one row per key: the flight as scheduled at its decision time."""
    repeated = schedule.duplicated(KEY, keep=False).to_numpy()
    if not repeated.any():
        return schedule
    known = (schedule["known_at"] <= schedule["sched_dep"] - LEAD).to_numpy()
    order = schedule["known_at"].argsort(kind="stable").to_numpy()
    # Late statements, newest first, then the others in order: the last of each key is the newest
    # known at the decision, or else the first.
    order = np.concatenate([order[~known[order]][::-1], order[known[order]]])
    older = schedule.iloc[order].duplicated(KEY, keep="last").to_numpy()
    return schedule.iloc[np.sort(order[~older])]


def labels(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return the labels: `key`, `label` (int8, 1 = disrupted) and `known_at` (UTC).

    A key has one row for each change of its label; `features.statements.newest` selects the row
    that counts at a moment.
    """
    stated = pd.DataFrame(
        {
            "key": key(outcomes),
            "label": disrupted(outcomes).astype("int8"),
            "known_at": outcomes["known_at"],
        }
    )
    return changed_statements(stated, ["key"], "label")


def disrupted(outcomes: pd.DataFrame) -> pd.Series:
    """Return whether a flight arrived 15 or more minutes late, or has no arrival delay.

    Cancelled and diverted flights have no arrival delay.
    """
    return (outcomes["arr_delay"] >= LATE_MINUTES) | outcomes["arr_delay"].isna()
