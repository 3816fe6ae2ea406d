"""Confidence sequences: intervals of a difference between models that may be looked at every day.

The interval is the normal mixture of Robbins (1970), as a confidence sequence in Howard et al.
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics
49 (2021), eq. 14. With probability 1 - alpha it contains the true mean at *all* times at once, so
stopping as soon as it leaves a limit is valid. It needs independent blocks of known spread. A block
is a day, since the cases of one day share its conditions. The spread is the larger of one given
beforehand and the one observed: the asymptotic sequence of Waudby-Smith et al., Annals of
Statistics 52 (2024), with a floor.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitoring.measures import scores

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The observed mean, and an interval of the true mean, valid at every look but for `alpha`."""

    n: int  # blocks
    mean: float
    low: float
    high: float


def half_width(n: float, spread: float, alpha: float, focus: float) -> float:
    """Return half the interval's width after `n` blocks of standard deviation `spread`.

    Infinite for `n` = 0. Valid for any `focus`; narrowest, against an interval of a fixed time,
    after about `focus` times 6 blocks (Howard et al., 2021, section 3.5).
    """
    if n <= 0:
        return math.inf
    return spread * math.sqrt((n + focus) / n**2 * math.log((n + focus) / (focus * alpha**2)))


def confidence_sequence(
    values: npt.ArrayLike, *, spread: float, alpha: float, focus: float
) -> Interval:
    """Return the interval of the mean of `values` (n,), one independent block each, in their units.

    `spread` is a lower bound of a block's standard deviation. Raises `ValueError` if a value is
    missing: dropping blocks without a value would bias the interval.
    """
    blocks = np.asarray(values, dtype="float64")
    if not np.isfinite(blocks).all():
        raise ValueError("A block has no value.")
    if not len(blocks):
        return Interval(0, math.nan, -math.inf, math.inf)
    observed = float(blocks.std(ddof=1)) if len(blocks) > 1 else 0.0
    mean = float(blocks.mean())
    half = half_width(len(blocks), max(spread, observed), alpha, focus)
    return Interval(len(blocks), mean, mean - half, mean + half)


def daily_paired_difference(
    paired: pd.DataFrame, costs: dict[str, float], *, min_labels: int
) -> pd.DataFrame:
    """Return a row per day (UTC) of decision: `n` labels, `difference` in cost per 1,000 cases.

    `paired` has `decision_time`, `label` (none missing), and the scores of both models on the same
    requests: `probability` and `challenger`. Above 0 the challenger costs more. Days with fewer
    than `min_labels` labels are left out as noise.
    """
    label = paired["label"]
    champion = scores.case_costs(label, paired["probability"], costs)
    challenger = scores.case_costs(label, paired["challenger"], costs)
    cases = paired[["label"]].assign(
        day=paired["decision_time"].dt.floor("D"), cost=1000 * (challenger - champion)
    )
    days = cases.groupby("day", as_index=False).agg(n=("cost", "size"), difference=("cost", "mean"))
    return days[days["n"] >= min_labels].reset_index(drop=True)


def difference_of_means(
    one: npt.ArrayLike, other: npt.ArrayLike, *, alpha: float, focus: float
) -> Interval:
    """Return the difference of the means of two arms, `one` - `other`, split by the key's hash.

    `n` is the size of the smaller arm. The spread is estimated, so each arm needs some dozens of
    requests. An arm without spread takes the other's.
    """
    first, second = np.asarray(one, dtype="float64"), np.asarray(other, dtype="float64")
    n = min(len(first), len(second))
    if n < 2:
        return Interval(n, math.nan, -math.inf, math.inf)
    widest = max(first.var(ddof=1), second.var(ddof=1))
    variance = n * widest * (1 / len(first) + 1 / len(second))
    mean = float(first.mean() - second.mean())
    half = half_width(n, math.sqrt(variance), alpha, focus)
    return Interval(n, mean, mean - half, mean + half)
