"""Gates that compare the candidate with the champion and the baseline, on the same cases."""

from collections.abc import Iterator

import numpy as np

from monitoring.measures.scores import case_costs, cost_per_1000, day_bootstrap, day_means
from pipelines.evaluation.gates.verdict import (
    GateInputs,
    Limits,
    Verdict,
    at_most,
    could_not_run,
    none_stated,
)

MIN_PROBABILITY = 1e-15  # scikit-learn clips probabilities at the same value


def beats_the_baseline(inputs: GateInputs, limits: Limits) -> Verdict:
    """Cost is below the baseline's by at least the share `min_saving`."""
    own, other = (
        cost_per_1000(inputs.y, prob, inputs.costs) for prob in (inputs.candidate, inputs.baseline)
    )
    text = f"cost per 1,000; the baseline's is {other:.0f}"
    return at_most(own, other * (1 - limits["min_saving"]), text)


def not_worse_than_the_champion(inputs: GateInputs, limits: Limits) -> Verdict:
    """Non-inferior in cost: the upper bound of the difference is within the margin.

    The bound is the upper end of the 90% interval from a paired bootstrap over days. A candidate
    that is worse by exactly the margin passes in 5% of the cases. A comparison of means alone would
    pass it in 50%.
    """
    margin = limits["margin_cost"]
    if inputs.champion is None:
        return _no_champion(margin)
    return _non_inferior(cost_difference(inputs), inputs, limits, margin, "cost per 1,000", 1)


def log_loss_holds(inputs: GateInputs, limits: Limits) -> Verdict:
    """Non-inferior in log-loss; without a champion, below the baseline's log-loss."""
    own = case_log_losses(inputs.y, inputs.candidate)
    if inputs.champion is not None:
        difference = own - case_log_losses(inputs.y, inputs.champion)
        margin = limits["margin_log_loss"]
        return _non_inferior(difference, inputs, limits, margin, "log-loss", 4)
    baseline = float(case_log_losses(inputs.y, inputs.baseline).mean())
    return at_most(float(own.mean()), baseline, f"log-loss; the baseline's is {baseline:.4f}")


def no_slice_worse_than_the_champion(inputs: GateInputs, limits: Limits) -> Verdict:
    """No slice is shown to cost more than the champion by more than the slices' margin.

    The p-value of a slice is the share of bootstrap draws with a difference within the margin.
    Holm's correction (1979) keeps the share of healthy candidates that any slice refuses at
    `slice_alpha` or below. This gate fails only if harm is shown; `no_slice_left_in_doubt` fails
    unless harm is ruled out.
    """
    alpha = limits["slice_alpha"]
    if inputs.champion is None:
        return _no_champion(alpha)
    if not inputs.slices:
        return none_stated("slices")
    slices = []
    for name, rows, difference in _slice_differences(inputs, limits["min_slice"]):
        means = day_means(difference, inputs.days[rows], inputs.seed, draws=2000)
        within = float(np.mean(means <= limits["margin_slice_cost"]))
        slices.append((max(within, 1 / len(means)), name, float(difference.mean())))
    if not slices:
        return could_not_run("no slice has enough cases")
    p, (_, name, mean) = holm_adjust(np.array([each[0] for each in slices])), min(slices)
    text = (
        f"smallest p-value, by Holm over {len(slices)} slices, that a slice costs more by over "
        f"{limits['margin_slice_cost']:g}: {name}, {mean:+.0f} per 1,000"
    )
    return Verdict(bool(p.min() >= alpha), float(p.min()), alpha, text)


def no_slice_left_in_doubt(inputs: GateInputs, limits: Limits) -> Verdict:
    """Non-inferior in each slice: the upper bound of its difference is within a margin.

    Slices below `min_slice_compared` cases are pooled: with fewer cases, a fortnight shows nothing.
    All slices must pass at one-sided 5%. So a candidate that is worse by the margin in any slice
    passes at most one time in twenty. As an intersection-union test (Berger 1982), this needs no
    correction for the number of slices.
    """
    margin = limits["margin_slice_proof"]
    if inputs.champion is None:
        return _no_champion(margin)
    if not inputs.slices:
        return none_stated("slices")
    slices = [
        (day_bootstrap(difference, inputs.days[rows], inputs.seed)[1], name, difference.mean())
        for name, rows, difference in _slice_differences(inputs, limits["min_slice_compared"])
    ]
    if not slices:
        return could_not_run("no slice has enough cases")
    high, name, mean = max(slices)
    text = (
        f"highest upper bound (one-sided 95%) of the difference to the champion in cost per 1,000, "
        f"of {len(slices)} slices: {name}, {mean:+.0f}"
    )
    return at_most(high, margin, text)


def holm_adjust(p: np.ndarray) -> np.ndarray:
    """Return p-values of shape (n,), adjusted by Holm's step-down method."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def cost_difference(inputs: GateInputs) -> np.ndarray:
    """Return the cost of the candidate minus the champion's for each case, per 1,000."""
    if inputs.champion is None:
        raise ValueError("There is no champion to compare with.")
    own = case_costs(inputs.y, inputs.candidate, inputs.costs)
    return np.asarray(1000 * (own - case_costs(inputs.y, inputs.champion, inputs.costs)))


def case_log_losses(y: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """Return the log-loss of each case, shape (n,)."""
    if not np.all((prob >= 0) & (prob <= 1)):
        raise ValueError("Probabilities must be between 0 and 1, without missing values.")
    outcome_prob = np.where(y == 1, prob, 1 - prob)
    return np.asarray(-np.log(np.clip(outcome_prob, MIN_PROBABILITY, 1.0)))


def _slice_differences(
    inputs: GateInputs, min_cases: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name and mask of each pooled slice, and its cost differences."""
    difference = cost_difference(inputs)
    for name, rows in inputs.pooled_slices(min_cases):
        yield name, rows, difference[rows]


def _no_champion(limit: float) -> Verdict:
    return Verdict(True, None, limit, "no champion yet: nothing to compare")


def _non_inferior(
    difference: np.ndarray, inputs: GateInputs, limits: Limits, margin: float, unit: str,
    digits: int,
) -> Verdict:  # fmt: skip
    if (days := inputs.days.nunique()) < limits["min_days"]:
        text = f"days in the holdout; an interval needs at least {limits['min_days']}"
        return Verdict(False, days, limits["min_days"], text)
    low, high = day_bootstrap(difference, inputs.days, inputs.seed)
    if high < 0:
        conclusion = "superior"
    elif high <= margin:
        conclusion = f"shown not to be worse by more than {margin:g}, not shown to be superior"
    else:
        conclusion = f"may be worse by more than {margin:g}"
    text = (
        f"upper bound of the difference to the champion in {unit}: {difference.mean():+.{digits}f},"
        f" 90% interval {low:+.{digits}f} to {high:+.{digits}f}; {conclusion}"
    )
    return at_most(high, margin, text)
