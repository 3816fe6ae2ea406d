"""Facts of a raw batch, which the batch rules in `rules.py` bound.

Each row can be valid while the batch is wrong: a unit has changed, an instrument repeats its last
value, or one sender leaves a column empty.
"""

import numpy as np
import pandas as pd

# None of these is constant for a whole day.
MEASURED_COLUMNS = ("temp", "dewp", "humid", "wind_speed", "pressure")
MIN_FLIGHTS = 20  # with fewer flights, a carrier's share of missing values is chance


def facts(feed: str, rows: pd.DataFrame) -> dict[str, float]:
    """Return the facts of a raw batch of `feed`; NaN, which no rule checks, if not measurable.

    `distinct_*` counts different values; `humidity_gap` is in percentage points (median).
    `null_gap_*` is the largest excess of one carrier's share of missing values over the others'.
    """
    if feed == "weather":
        distinct = {f"distinct_{name}": float(rows[name].nunique()) for name in MEASURED_COLUMNS}
        return distinct | {"humidity_gap": _humidity_gap(rows)}
    columns = {"schedule": ["tailnum"], "outcomes": ["tailnum", "arr_delay"]}.get(feed, [])
    return {f"null_gap_{name}": _null_gap(rows, name) for name in columns}


def _humidity_gap(rows: pd.DataFrame) -> float:
    """Compare humidity with temperature and dew point (Magnus formula; Alduchov, 1996)."""
    with np.errstate(all="ignore"):  # row rules check absurd values
        dew, air = (
            vapour_pressure(rows[name].to_numpy(dtype="float64")) for name in ("dewp", "temp")
        )
        gaps = np.abs(rows["humid"].to_numpy(dtype="float64") - 100 * dew / air)
    known = gaps[np.isfinite(gaps)]
    return float(np.median(known)) if len(known) else float("nan")


def vapour_pressure(fahrenheit: np.ndarray) -> np.ndarray:
    """Return the saturation vapour pressure, up to a constant factor."""
    celsius = (fahrenheit - 32) * 5 / 9
    return np.asarray(np.exp(17.625 * celsius / (243.04 + celsius)))


def _null_gap(rows: pd.DataFrame, column: str) -> float:
    missing = rows[column].isna()
    carriers = missing.groupby(rows["carrier"]).agg(["sum", "size"])
    others = (missing.sum() - carriers["sum"]) / (len(rows) - carriers["size"]).clip(lower=1)
    gaps = (carriers["sum"] / carriers["size"] - others)[carriers["size"] >= MIN_FLIGHTS]
    return float(gaps.max()) if len(gaps) else float("nan")
