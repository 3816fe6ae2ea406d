"""Delay rates and mean delays over the last hours, by any entity, exactly as they were known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from usecase.target import disrupted

HOUR = pd.Timedelta(hours=1)
# Beyond these a delay says no more about the next flight, and one value could rule a mean.
SHORTEST, LONGEST = -60, 240


def at_change_points(
    outcomes: pd.DataFrame, by: str, names: Mapping[int, tuple[str, str, str]]
) -> pd.DataFrame:
    """A row per entity and hour at which any of its windows changes, also when it runs empty.

    `names` gives for each window in hours the columns of its number of flights (0 when it has run
    empty: a row without any value could not be published), its delay rate and its mean delay. An
    outcome counts from the first full hour after `known_at`, never from when it happened.
    """
    hours = _bucket(outcomes)
    steps = [0, *names]
    points = pd.DataFrame(
        {
            by: np.tile(outcomes[by].to_numpy(), len(steps)),
            "hour": np.concatenate([hours + step for step in steps]),
        }
    ).drop_duplicates()
    return _windows(outcomes, hours, by, points, names)


def every_hour(
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
    return _windows(outcomes, _bucket(outcomes), by, points, names)


def _bucket(outcomes: pd.DataFrame) -> np.ndarray:
    # Strictly after: what is known on the stroke of an hour belongs to the batch that starts then.
    known = outcomes["known_at"].dt.floor("h").astype("datetime64[us, UTC]").astype("int64")
    return (known // 3_600_000_000 + 1).to_numpy()


def _hour_number(moment: pd.Timestamp) -> int:
    return int(moment.timestamp() // 3600)


def _windows(
    outcomes: pd.DataFrame,
    hours: np.ndarray,
    by: str,
    points: pd.DataFrame,
    names: Mapping[int, tuple[str, str, str]],
) -> pd.DataFrame:
    # Sums are of whole minutes, so that a day built alone gives the same bits as a year at once.
    delay = outcomes["arr_delay"].clip(SHORTEST, LONGEST)
    events = pd.DataFrame(
        {
            "entity": outcomes[by].to_numpy(),
            "hour": hours,
            "flights": 1,
            "bad": disrupted(outcomes).to_numpy(dtype="int64"),
            "landed": delay.notna().to_numpy(dtype="int64"),
            "minutes": delay.fillna(0).to_numpy(dtype="int64"),
        }
    )
    codes, _ = pd.factorize(pd.concat([events["entity"], points[by]], ignore_index=True), sort=True)
    span = 10_000_000  # hours since 1970 stay below it for a thousand years
    order = np.argsort(codes[: len(events)] * span + events["hour"].to_numpy(), kind="stable")
    at = (codes[: len(events)] * span + events["hour"].to_numpy())[order]
    sums = {
        name: np.concatenate([[0], np.cumsum(events[name].to_numpy()[order])])
        for name in ("flights", "bad", "landed", "minutes")
    }
    asked = codes[len(events) :] * span + points["hour"].to_numpy()
    result = pd.DataFrame({by: points[by].to_numpy()})
    upto = np.searchsorted(at, asked, side="right")
    for window, (count, rate, mean) in names.items():
        since = np.searchsorted(at, asked - window, side="right")
        total = {name: sums[name][upto] - sums[name][since] for name in sums}
        result[count] = total["flights"].astype("float64")
        result[rate] = _ratio(total["bad"], total["flights"])
        result[mean] = _ratio(total["minutes"], total["landed"])
    result["event_timestamp"] = pd.to_datetime(
        points["hour"].to_numpy() * 3_600_000_000, unit="us", utc=True
    )
    return result.sort_values(["event_timestamp", by], ignore_index=True)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
