"""Delay rates and mean delays over the last hours, by any entity, exactly as they were known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from usecase.statements import superseded_from
from usecase.target import KEY, disrupted

HOUR = pd.Timedelta(hours=1)
# Beyond these a delay says no more about the next flight, and one value could rule a mean.
MIN_DELAY, MAX_DELAY = -60, 240
SPAN = 10_000_000  # hours since 1970 stay below it for a thousand years
SUMS = ("flights", "bad", "landed", "minutes")


def add_counting_hours(outcomes: pd.DataFrame) -> pd.DataFrame:
    """`outcomes` with the hours (since 1970) in which each statement counts: [`hour`, `until`).

    A statement counts from the first full hour after `known_at`, never from when it happened, to
    the hour from which a newer statement about the same flight counts. A window reaches back to
    the hour after the landing (`event_hour`): a flight that is stated again days later is no recent
    one. Call it with all that was read: what was left out can't supersede.
    """
    hours = _hour_after(outcomes["known_at"])
    delay = pd.to_timedelta(outcomes["arr_delay"].fillna(0), unit="min")
    event_hour = np.minimum(_hour_after(outcomes["sched_arr"] + delay), hours)
    until = superseded_from(outcomes, KEY, hours)
    return outcomes.assign(hour=hours, event_hour=event_hour, until=until)


def _hour_after(times: pd.Series) -> np.ndarray:
    # Strictly after: what is known on the stroke of an hour belongs to the batch that starts then.
    hours = times.dt.floor("h").astype("datetime64[us, UTC]").astype("int64") // 3_600_000_000
    return (hours + 1).to_numpy()


def windows_at_changes(
    outcomes: pd.DataFrame, by: str, names: Mapping[int, tuple[str, str, str]]
) -> pd.DataFrame:
    """A row per entity and hour at which any of its windows changes, also when it runs empty.

    `names` gives for each window in hours the columns of its number of flights (0 when it has run
    empty: a row without any value could not be published), its delay rate and its mean delay.
    `outcomes` is what `add_counting_hours` gives.
    """
    alive = outcomes[outcomes["until"] > outcomes["hour"]]
    changes = [alive["hour"].to_numpy(), *(_ends(alive, window) for window in names)]
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
    """A row per entity and full hour in (start, end], with the same windows."""
    grid = np.arange(_hour_number(start) + 1, _hour_number(end) + 1)
    points = pd.DataFrame(
        {by: np.repeat(np.asarray(entities), len(grid)), "hour": np.tile(grid, len(entities))}
    )
    return _windows(outcomes, by, points, names)


def _hour_number(moment: pd.Timestamp) -> int:
    return int(moment.timestamp() // 3600)


def _windows(
    outcomes: pd.DataFrame,
    by: str,
    points: pd.DataFrame,
    names: Mapping[int, tuple[str, str, str]],
) -> pd.DataFrame:
    # Sums are of whole minutes, so that a day built alone gives the same bits as a year at once.
    delay = outcomes["arr_delay"].clip(MIN_DELAY, MAX_DELAY)
    events = pd.DataFrame(
        {
            "hour": outcomes["hour"].to_numpy(),
            "flights": 1,
            "bad": disrupted(outcomes).to_numpy(dtype="int64"),
            "landed": delay.notna().to_numpy(dtype="int64"),
            "minutes": delay.fillna(0).to_numpy(dtype="int64"),
        }
    )
    entities = pd.concat([outcomes[by], points[by]], ignore_index=True)
    codes, _ = pd.factorize(entities, sort=True)
    events["place"] = codes[: len(events)] * SPAN
    asked = codes[len(events) :] * SPAN + points["hour"].to_numpy()
    result = pd.DataFrame({by: points[by].to_numpy()})
    begun = _sums(events, events["hour"].to_numpy(), asked)
    for window, (count, rate, mean) in names.items():
        over = _sums(events, _ends(outcomes, window), asked)
        total = {name: begun[name] - over[name] for name in SUMS}
        result[count] = total["flights"].astype("float64")
        result[rate] = _ratio(total["bad"], total["flights"])
        result[mean] = _ratio(total["minutes"], total["landed"])
    result["event_timestamp"] = pd.to_datetime(
        points["hour"].to_numpy() * 3_600_000_000, unit="us", utc=True
    )
    return result.sort_values(["event_timestamp", by], ignore_index=True)


def _ends(outcomes: pd.DataFrame, window: int) -> np.ndarray:
    """The hour from which each statement is in a window of so many hours no more."""
    ends = np.minimum(outcomes["event_hour"] + window, outcomes["until"])
    return np.maximum(ends, outcomes["hour"]).to_numpy()


def _sums(events: pd.DataFrame, hours: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
    """The sums over the events of the entity whose `hours` are not after each place of `asked`."""
    at = events["place"].to_numpy() + hours
    order = np.argsort(at, kind="stable")
    upto = np.searchsorted(at[order], asked, side="right")
    totals = {
        name: np.concatenate([[0], np.cumsum(events[name].to_numpy()[order])]) for name in SUMS
    }
    return {name: totals[name][upto] for name in SUMS}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
