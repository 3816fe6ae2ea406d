"""The analysis of an experiment with two versions, as its plan fixed it at the start.

The hash of its key assigns a case to one arm. A day's difference of the arms is one observation,
since both arms share the day's conditions. At the planned end the result is Student's interval of
the mean over days. An earlier look gets the verdict `early` and a confidence sequence, which
allows for repeated looks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from monitoring.measures import scores, sequential
from monitoring.measures.sequential import Interval
from serving.release import document

Floats = sequential.Floats
PerCase = Callable[[pd.Series, pd.Series, dict[str, float]], Floats]
N_RANDOM_SPLITS = 20  # of the log, to estimate the daily spread between arms of one model
POWER = 0.8


# Per 1,000 cases; less is better.
EXPERIMENT_METRICS: dict[str, PerCase] = {
    "cost": lambda y, p, costs: 1000 * scores.case_costs(y, p, costs),
    "brier": lambda y, p, costs: 1000 * (p - y).to_numpy(dtype="float64") ** 2,
}


@dataclass(frozen=True)
class ExperimentPlan:
    """Fixed at the start. `effect`: the smallest difference that matters, in the metric's units."""

    version: str
    metric: str
    percent: float
    effect: float
    days: int
    alpha: float
    min_labels: int  # of each arm on a day; a day with fewer is left out
    spread: float  # standard deviation of the daily difference between arms of one model
    days_needed: int  # to detect a true difference of `effect` with a power of 80%
    planned_at: str  # its `as_of` (UTC)


@dataclass(frozen=True)
class ExperimentResult:
    """The verdict on the challenger; `told` is for people."""

    verdict: str  # early, better, worse, no_difference or undecided
    interval: Interval
    labels: tuple[int, int]  # champion, challenger
    days: int  # planned days that are over
    told: str


def daily_arm_difference(
    rows: pd.DataFrame, metric: str, costs: dict[str, float], *, min_labels: int
) -> pd.DataFrame:
    """Return a row per day (UTC) of decision: labels per arm, `difference` challenger - champion.

    `rows` has `decision_time`, `arm`, `probability` and `label`. Rows without a label are left out.
    """
    known = rows[rows["label"].notna()]
    values = EXPERIMENT_METRICS[metric](
        known["label"], known["probability"].astype("float64"), costs
    )
    frame = known[["arm"]].assign(value=values, day=known["decision_time"].dt.floor("D"))
    table = frame.pivot_table(index="day", columns="arm", values="value", aggfunc=["size", "mean"])
    both = [(what, arm) for what in ("size", "mean") for arm in ("champion", "challenger")]
    table = table.reindex(columns=both).dropna()
    days = pd.DataFrame({
        "champion": table[("size", "champion")].astype(int),
        "challenger": table[("size", "challenger")].astype(int),
        "difference": table[("mean", "challenger")] - table[("mean", "champion")],
    })  # fmt: skip
    enough = days[["champion", "challenger"]].min(axis=1) >= min_labels
    return days[enough].reset_index()


def same_model_spread(
    rows: pd.DataFrame, metric: str, percent: float, costs: dict[str, float], *, min_labels: int
) -> float:
    """Return the standard deviation of the daily difference if both arms are one model.

    Splits the log's cases at random `N_RANDOM_SPLITS` times. Raises `ValueError` with fewer than
    two days of enough labels.
    """
    variances = []
    for salt in range(N_RANDOM_SPLITS):
        digest = f"{salt:016x}"  # in the place of a challenger's
        routed = [document.goes_to_challenger(key, digest, percent) for key in rows["key"]]
        arms = np.where(routed, "challenger", "champion")
        days = daily_arm_difference(rows.assign(arm=arms), metric, costs, min_labels=min_labels)
        if len(days) < 2:
            raise ValueError(f"{len(days)} days of the log have {min_labels} labels in each arm")
        variances.append(float((days["difference"] ** 2).mean()))
    return math.sqrt(float(np.mean(variances)))


def days_for_power(effect: float, spread: float, alpha: float, most: int = 1000) -> int:
    """Return the days that detect a true `effect` with a power of 80%; two-sided, Student's."""
    from scipy.stats import t

    n = np.arange(2, most)
    quantiles = t.ppf(1 - alpha / 2, n - 1) + t.ppf(POWER, n - 1)
    enough = n[quantiles * spread <= effect * np.sqrt(n)]
    return int(enough[0]) if len(enough) else most


def analyse_experiment(
    rows: pd.DataFrame, plan: ExperimentPlan, costs: dict[str, float], as_of: datetime, *,
    label_hours: float,
) -> ExperimentResult:  # fmt: skip
    """Analyse the planned days as of `as_of`; later days are left out."""
    over = pd.Timestamp(as_of) - timedelta(hours=label_hours)
    day = rows["decision_time"].dt.floor("D")
    first = day.min() if len(rows) else over
    planned = (day < first + timedelta(days=plan.days)) & (day + timedelta(days=1) <= over)
    days = daily_arm_difference(rows[planned], plan.metric, costs, min_labels=plan.min_labels)
    labels = (int(days["champion"].sum()), int(days["challenger"].sum()))
    n_over = min(plan.days, max(0, (over - first).days))
    difference = days["difference"].to_numpy(dtype="float64")
    if n_over < plan.days:
        interval = sequential.confidence_sequence(
            difference, spread=plan.spread, alpha=plan.alpha, focus=max(1.0, plan.days / 6)
        )
        verdict, outcome = "early", f"too early: {n_over} of {plan.days} planned days are over"
    else:
        interval = student_interval(difference, plan.alpha)
        verdict = experiment_verdict(interval, plan.effect)
        outcome = verdict.replace("_", " ")
    text = (
        f"{outcome}; {plan.metric} {interval.mean:+.0f} per 1,000 ({1 - plan.alpha:.0%} interval "
        f"{interval.low:+.0f} to {interval.high:+.0f}) over {interval.n} days; "
        f"the smallest effect that matters is {plan.effect:g}"
    )
    return ExperimentResult(verdict, interval, labels, n_over, text)


def experiment_verdict(interval: Interval, effect: float) -> str:
    """Return the verdict on the challenger; a smaller metric is better."""
    if interval.high < 0:
        return "better"
    if interval.low > 0:
        return "worse"
    small = interval.low > -effect and interval.high < effect
    return "no_difference" if small else "undecided"


def student_interval(values: Floats, alpha: float) -> Interval:
    """Return Student's interval of the mean of independent `values`; infinite below two values."""
    from scipy.stats import t  # scikit-learn's own dependency

    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    if n < 2:
        return Interval(n, mean, -math.inf, math.inf)
    half = float(t.ppf(1 - alpha / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(n, mean, mean - half, mean + half)
