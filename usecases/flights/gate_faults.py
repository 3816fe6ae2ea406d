"""Faults that `mlops prove` puts into real candidates, with the gate that must refuse each."""

from collections.abc import Callable
from datetime import date
from functools import partial

import numpy as np
import pandas as pd

from contract import GateFault, Read
from usecases.flights.columns import CARRIER, NUMBERS, ORIGIN, WindowColumns
from usecases.flights.feature_tables import TABLES
from usecases.flights.target import UNKNOWN_TAIL

ChangeRows = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]


def reverse_labels_where(hit: Callable[[pd.DataFrame], pd.Series]) -> ChangeRows:
    """Reverse the labels of the rows that `hit` chooses."""
    return lambda rows, extra: rows.assign(label=rows["label"].where(~hit(rows), 1 - rows["label"]))


def blank_planes_without_tail_number(rows: pd.DataFrame, extra: pd.DataFrame) -> pd.DataFrame:
    """Blank the plane's features where the tail number is missing, as naive features would."""
    absent = rows["key"].map(extra.set_index("key")["tailnum"]) == UNKNOWN_TAIL
    plane = [name for name in NUMBERS if name.startswith("plane_")]
    return rows.assign(**{name: rows[name].mask(absent) for name in plane})


def negate_delays(rows: pd.DataFrame, extra: pd.DataFrame) -> pd.DataFrame:
    """Flip the sign of delays: the scores are as good, but a storm lowers the risk."""
    delays = [name for name in NUMBERS if "_delay_rate_" in name or "_mean_delay_" in name]
    return rows.assign(**{name: -rows[name] for name in delays})


def shuffle_scores(carrier: str, rows: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
    """Shuffle the scores of a carrier's flights, as a wrong join key would; their mean is right."""
    hit = np.flatnonzero(rows["carrier"] == carrier)
    changed = scores.copy()
    changed[hit] = np.random.default_rng(0).permutation(scores[hit])
    return changed


def shuffle_scores_every_other_day(rows: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
    """Shuffle a carrier's scores on every other day: too little harm to show in a fortnight."""
    hit = (rows["decision_time"].dt.dayofyear % 2 == 0).to_numpy()
    return np.where(hit, shuffle_scores("B6", rows, scores), scores)


def shift_scores_of_two_carriers(rows: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
    """Raise one carrier's scores and lower another's; the overall mean is right."""
    shift = rows["carrier"].map({"UA": -0.25, "DL": 0.25}).fillna(0.0).to_numpy()
    return np.clip(scores + shift, 0.001, 0.999)


def key_by_departure(table: str, read: Read, first: date, last: date) -> pd.DataFrame:
    """Count a flight in windows from its scheduled departure, before its delay is known."""

    def read_early(feed: str, start: date, end: date) -> pd.DataFrame:
        rows = read(feed, start, end)
        if feed == "outcomes" and len(rows):
            rows = rows.assign(known_at=rows["sched_dep"])
        return rows

    return TABLES[table][0](read_early, first, last)


def swap_rates(
    table: str, windows: WindowColumns, read: Read, first: date, last: date
) -> pd.DataFrame:
    """Exchange the delay rates of the last two and of the last six hours."""
    short, long = windows[2][1], windows[6][1]
    return TABLES[table][0](read, first, last).rename(columns={short: long, long: short})


FAULTS = (
    GateFault("one carrier's labels reversed", "calibrated in slices", "fit",
          reverse_labels_where(lambda rows: rows["carrier"] == "US")),  # a twentieth of the flights
    GateFault("two carriers' scores shifted", "calibrated in slices", "scores",
          shift_scores_of_two_carriers),
    GateFault("labels of the early hours reversed", "no slice worse than the champion", "fit",
          reverse_labels_where(lambda rows: rows["hour"] <= 8)),
    GateFault("scores of a carrier interchanged on every other day", "no slice left in doubt",
          "scores", shuffle_scores_every_other_day),
    GateFault("scores of a late carrier interchanged", "slices hold", "scores",
          partial(shuffle_scores, "EV")),
    GateFault("scores of a punctual carrier interchanged", "errors are even", "scores",
          partial(shuffle_scores, "UA")),
    GateFault("gaps where the tail number is missing", "no value tells", "rows",
          blank_planes_without_tail_number),
    GateFault("signs of delays reversed", "behaves", "rows", negate_delays),
    GateFault("signs of delays reversed in the refit only", "behaves when served", "refit",
          negate_delays),
    GateFault("windows keyed by departure", "known at the decision", "tables", {
        name: partial(key_by_departure, name) for name in ("origin_delays", "carrier_delays")}),
    GateFault("two columns swapped online", "online as offline", "online", {
        "origin_delays": partial(swap_rates, "origin_delays", ORIGIN),
        "carrier_delays": partial(swap_rates, "carrier_delays", CARRIER)}),
)  # fmt: skip
