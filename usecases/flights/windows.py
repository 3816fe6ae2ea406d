"""Delay rates and mean delays over the last hours, by entity, as known at each hour."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from features.statements import superseded_from
from usecases.flights.columns import KEY
from usecases.flights.target import disrupted

HOUR = pd.Timedelta(hours=1)
# Minutes. A longer delay predicts no more about the next flight, and could dominate a mean.
MIN_DELAY, MAX_DELAY = -60, 240
SPAN = 10_000_000  # larger than any count of hours since 1970


def add_counting_hours(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return `outcomes` with the hours (since 1970) in which each row counts: [`hour`, `until`).

    A row counts from the first full hour after `known_at`, not from the event. It stops counting
    when a newer row about the same flight starts. A window covers `event_hour`, the hour after the
    landing, so a flight restated days later is not recent. Pass all rows that were read: a row that
    is left out cannot supersede another.
    """
    hours = _hour_after(outcomes["known_at"])
    delay = pd.to_timedelta(outcomes["arr_delay"].fillna(0), unit="min")
    event_hour = np.minimum(_hour_after(outcomes["sched_arr"] + delay), hours)
    until = superseded_from(outcomes, KEY, hours)
    return outcomes.assign(hour=hours, event_hour=event_hour, until=until)


def _hour_after(times: pd.Series) -> np.ndarray:
    # Strictly after: a row known exactly on the hour belongs to the batch that starts then.
    hours = times.dt.floor("h").astype("datetime64[us, UTC]").astype("int64") // 3_600_000_000
    return (hours + 1).to_numpy()


def windows_at_changes(
    outcomes: pd.DataFrame, by: str, names: Mapping[int, tuple[str, str, str]]
) -> pd.DataFrame:
    """Return a row per entity and hour at which any of its windows changes or becomes empty.

    `outcomes` comes from `add_counting_hours`. `names` gives, for each window in hours, the columns
    of its number of flights, delay rate and mean delay. An empty window has 0 flights, because a
    row without any value could not be published.
    """
    alive = outcomes[outcomes["until"] > outcomes["hour"]]
    changes = [alive["hour"].to_numpy(), *(_end_hours(alive, window) for window in names)]
    points = pd.DataFrame(
        {by: np.tile(alive[by].to_numpy(), len(changes)), "hour": np.concatenate(changes)}
    ).drop_duplicates()
    return _windows(outcomes, by, points, names)


def windows_every_hour(
    outcomes: pd.DataFrame,
    by: str,
    entities: Sequence[str],
    names: Mapping[int, tuple[str, str, str]],
    start: pd.Timestamp,
    end: pd.Timestamp,
) -> pd.DataFrame:
    """Return a row per entity and full hour in (start, end], with the same windows."""
    grid = np.arange(_hour_number(start) + 1, _hour_number(end) + 1)
    points = pd.DataFrame(
        {by: np.repeat(np.asarray(entities), len(grid)), "hour": np.tile(grid, len(entities))}
    )
    return _windows(outcomes, by, points, names)


def _hour_number(moment: pd.Timestamp) -> int:
    return int(moment.timestamp() // 3600)


def _windows(
    outcomes: pd.DataFrame, by: str, points: pd.DataFrame, names: Mapping[int, tuple[str, str, str]]
) -> pd.DataFrame:
    delay = outcomes["arr_delay"].clip(MIN_DELAY, MAX_DELAY)
    # Flights, disrupted ones, landed ones, and their minutes. All are whole numbers, so a day built
    # alone gives the same bits as a whole year.
    counted = np.column_stack(
        [np.ones(len(delay)), disrupted(outcomes), delay.notna(), delay.fillna(0)]
    ).astype("int64")
    codes, _ = pd.factorize(pd.concat([outcomes[by], points[by]], ignore_index=True), sort=True)
    # Entity and hour in one sortable number.
    offsets = codes[: len(counted)] * SPAN
    targets = codes[len(counted) :] * SPAN + points["hour"].to_numpy()
    result = pd.DataFrame({by: points[by].to_numpy()})
    started = _sums_until(counted, offsets + outcomes["hour"].to_numpy(), targets)
    for window, (count, rate, mean) in names.items():
        ended = _sums_until(counted, offsets + _end_hours(outcomes, window), targets)
        flights, bad, landed, minutes = (started - ended).T
        result[count] = flights.astype("float64")
        result[rate] = _ratio(bad, flights)
        result[mean] = _ratio(minutes, landed)
    result["event_timestamp"] = pd.to_datetime(
        points["hour"].to_numpy() * 3_600_000_000, unit="us", utc=True
    )
    return result.sort_values(["event_timestamp", by], ignore_index=True)


def _end_hours(outcomes: pd.DataFrame, window: int) -> np.ndarray:
    """Return the first hour at which each row has left a window of `window` hours."""
    ends = np.minimum(outcomes["event_hour"] + window, outcomes["until"])
    return np.maximum(ends, outcomes["hour"]).to_numpy()


def _sums_until(counted: np.ndarray, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return, for each target, the sums of the rows of `counted` with positions up to it.

    A position or target is an entity and hour in one number. The shapes are (n_rows, n_sums) and
    (n_targets, n_sums). The sums include all entities sorted before the target; a difference
    of two results removes them.
    """
    order = np.argsort(positions, kind="stable")
    totals = np.cumsum(counted[order], axis=0)
    n_included = np.searchsorted(positions[order], targets, side="right")
    return np.vstack([np.zeros((1, counted.shape[1]), dtype="int64"), totals])[n_included]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
