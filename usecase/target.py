"""What is predicted, for which cases, at which moment, and when the truth becomes known."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from usecase.statements import changed_statements

TIME_ZONE = "America/New_York"
# The feeds that name the cases, and that tell how they ended.
SPINE_FEED = "schedule"
LABEL_FEED = "outcomes"
LEAD = timedelta(hours=2)
LATE_MINUTES = 15
# A null join key raises in Feast, and the missing tail number tells the label (every flight
# without one was cancelled): it becomes a key that no plane has.
UNKNOWN_TAIL = "UNKNOWN"
KEY = ["carrier", "flight", "origin", "sched_dep"]  # of a flight, in both feeds


def key(flights: pd.DataFrame) -> pd.Series:
    """One text per flight: scheduled departure (UTC), carrier, number, origin."""
    # As strftime would write them, which goes through them one by one.
    minutes = flights["sched_dep"].dt.tz_localize(None).to_numpy("datetime64[m]")
    departures = np.datetime_as_string(minutes, timezone="UTC").astype(object)
    return (
        pd.Series(departures, index=flights.index)
        + ":" + flights["carrier"]
        + ":" + flights["flight"].astype(str)
        + ":" + flights["origin"]
    )  # fmt: skip


def spine(schedule: pd.DataFrame) -> pd.DataFrame:
    """The cases to predict, one per scheduled flight: `key`, `decision_time`, entities, request.

    `decision_time` (UTC) is two hours before scheduled departure. Columns are those that a request
    brings, so that training and serving look features up by the same keys. Of several statements
    about a flight the newest known at its decision time counts; the first, if none was.
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
    """One row per key: the flight as it was scheduled when it was decided on."""
    repeated = schedule.duplicated(KEY, keep=False).to_numpy()
    if not repeated.any():
        return schedule
    known = (schedule["known_at"] <= schedule["sched_dep"] - LEAD).to_numpy()
    order = schedule["known_at"].argsort(kind="stable").to_numpy()
    # First the statements that came too late, the latest first; then the others as they came.
    order = np.concatenate([order[~known[order]][::-1], order[known[order]]])
    older = schedule.iloc[order].duplicated(KEY, keep="last").to_numpy()
    return schedule.iloc[np.sort(order[~older])]


def labels(outcomes: pd.DataFrame) -> pd.DataFrame:
    """What was stated of the truth: `key`, `label` (int8, 1 = disrupted) and `known_at` (UTC).

    A row per statement that changes it: `usecase.statements.newest` gives the one that counts as
    of a moment.
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
    """15 or more minutes late at arrival, or cancelled or diverted (no arrival delay is known)."""
    return (outcomes["arr_delay"] >= LATE_MINUTES) | outcomes["arr_delay"].isna()
