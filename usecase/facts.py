"""What must a batch of a feed show beside counts? Its facts, of which `expectations` asks.

A row can be right by itself and its batch still be wrong: a unit that has changed, an instrument
that repeats its last value, one sender who leaves a column empty.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

MEASURED_COLUMNS = (
    "temp",
    "dewp",
    "humid",
    "wind_speed",
    "pressure",
)  # no day repeats one all day long
MIN_FLIGHTS = 20  # flights; of fewer a carrier's share of gaps is chance


def facts(feed: str, rows: pd.DataFrame) -> dict[str, float]:
    """The facts of a raw batch of `feed`; NaN, and so not judged, where there is nothing to go by.

    `distinct_*` counts different values, `humidity_gap` is in percentage points (median), and
    `null_gap_*` is how much more a carrier's column lacks than the others', at worst.
    """
    if feed == "weather":
        distinct = {f"distinct_{name}": float(rows[name].nunique()) for name in MEASURED_COLUMNS}
        return distinct | {"humidity_gap": _humidity_gap(rows)}
    columns = {"schedule": ["tailnum"], "outcomes": ["tailnum", "arr_delay"]}.get(feed, [])
    return {f"null_gap_{name}": _null_gap(rows, name) for name in columns}


def _humidity_gap(rows: pd.DataFrame) -> float:
    """Humidity as written against that of temperature and dew point (Magnus; Alduchov, 1996)."""
    with np.errstate(all="ignore"):  # absurd values are the matter of row rules
        dew, air = (
            vapour_pressure(rows[name].to_numpy(dtype="float64")) for name in ("dewp", "temp")
        )
        gaps = np.abs(rows["humid"].to_numpy(dtype="float64") - 100 * dew / air)
    known = gaps[np.isfinite(gaps)]
    return float(np.median(known)) if len(known) else float("nan")


def vapour_pressure(fahrenheit: np.ndarray) -> np.ndarray:
    celsius = (fahrenheit - 32) * 5 / 9
    return np.asarray(np.exp(17.625 * celsius / (243.04 + celsius)))


def _null_gap(rows: pd.DataFrame, column: str) -> float:
    gone = rows[column].isna()
    of = gone.groupby(rows["carrier"]).agg(["sum", "size"])
    others = (gone.sum() - of["sum"]) / (len(rows) - of["size"]).clip(lower=1)
    gaps = (of["sum"] / of["size"] - others)[of["size"] >= MIN_FLIGHTS]
    return float(gaps.max()) if len(gaps) else float("nan")
