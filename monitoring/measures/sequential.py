"""Is one model worse than another on the same requests? An answer that may be looked at every day.

The interval is the normal mixture of Robbins (1970), as a confidence sequence in Howard et al.
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics
49 (2021), eq. 14: with probability 1 - alpha it holds the true mean at *all* times at once, so to
stop as soon as it leaves a limit is no cheating. It asks for blocks that are independent with a
known spread: a block is a day, for what happens on a day happens to many of its cases, and the
spread is the larger of one given beforehand and the one that the days at hand show (which is the
asymptotic sequence of Waudby-Smith et al., Annals of Statistics 52 (2024), with a floor).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from usecase import evaluation

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The mean of what was seen, and where the true one lies at every look, but for `alpha`."""

    n: int  # blocks
    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def half_width(n: float, spread: float, alpha: float, focus: float) -> float:
    """Half the width after `n` blocks with standard deviation `spread`; infinite before the first.

    It holds whatever `focus` is; it is narrowest, against a fixed time, after about `focus` times
    6 blocks (Howard et al., 2021, section 3.5).
    """
    if n <= 0:
        return math.inf
    return spread * math.sqrt((n + focus) / n**2 * math.log((n + focus) / (focus * alpha**2)))


def confidence_sequence(
    values: npt.ArrayLike, *, spread: float, alpha: float, focus: float
) -> Interval:
    """The interval of the mean of `values` (n,), one independent block each, in their own units.

    `spread` is the least standard deviation of a block that is believed. Raises `ValueError` if a
    value is missing: who leaves out what he lacks has an interval of something else.
    """
    seen = np.asarray(values, dtype="float64")
    if not np.isfinite(seen).all():
        raise ValueError("A block has no value.")
    if not len(seen):
        return Interval(0, math.nan, -math.inf, math.inf)
    observed = float(seen.std(ddof=1)) if len(seen) > 1 else 0.0
    mean, half = float(seen.mean()), half_width(len(seen), max(spread, observed), alpha, focus)
    return Interval(len(seen), mean, mean - half, mean + half)


def daily_paired_difference(
    paired: pd.DataFrame, costs: dict[str, float], *, min_labels: int
) -> pd.DataFrame:
    """A row per day (UTC) of decision: `n` labels, `difference` in cost per 1,000 cases.

    `paired` has `decision_time`, `label` (none missing), and `probability` and `rival` of the same
    requests; above 0 the rival costs more. Days with fewer labels are left out: they are noise.
    """
    label = paired["label"]
    own = evaluation.case_costs(label, paired["probability"], costs)
    rival = evaluation.case_costs(label, paired["rival"], costs)
    days = paired["decision_time"].dt.floor("D").rename("day")
    frame = pd.Series(1000 * (rival - own), index=paired.index).groupby(days).agg(["size", "mean"])
    frame = frame.rename(columns={"size": "n", "mean": "difference"}).reset_index()
    return frame[frame["n"] >= min_labels].reset_index(drop=True)


def days_until_narrow(
    effect: float, *, spread: float, alpha: float, focus: float, most: int = 366
) -> int:
    """After how many days the interval is narrower than `effect` on either side; `most` at most.

    Then a true difference of `effect` is told from none with even odds, one of twice the size
    nearly always.
    """
    narrow = (n for n in range(1, most) if half_width(n, spread, alpha, focus) <= abs(effect))
    return next(narrow, most)


def difference_of_means(
    one: npt.ArrayLike, other: npt.ArrayLike, *, alpha: float, focus: float
) -> Interval:
    """The difference of the means of two arms, `one` less `other`, drawn by the hash of the key.

    `n` is the number of the smaller arm. The spread is estimated, so this holds for some dozens of
    requests in each arm and more. An arm without spread of its own takes the other's.
    """
    first, second = np.asarray(one, dtype="float64"), np.asarray(other, dtype="float64")
    n = min(len(first), len(second))
    if n < 2:
        return Interval(n, math.nan, -math.inf, math.inf)
    widest = max(first.var(ddof=1), second.var(ddof=1))
    variance = n * widest * (1 / len(first) + 1 / len(second))
    mean, half = (
        float(first.mean() - second.mean()),
        half_width(n, math.sqrt(variance), alpha, focus),
    )
    return Interval(n, mean, mean - half, mean + half)
