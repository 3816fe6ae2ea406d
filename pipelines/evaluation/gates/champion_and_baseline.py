"""Gates that compare the candidate with no model, and with the champion on the same cases."""

from __future__ import annotations

import numpy as np

from pipelines.evaluation.gates.inputs import GateInputs
from pipelines.evaluation.gates.verdict import Limits, Verdict, at_least, at_most
from usecase.evaluation import case_costs, cost_per_1000, day_bootstrap, day_means

MIN_PROBABILITY = 1e-15  # the probability at which scikit-learn, too, cuts the logarithm off


def beats_the_baseline(evidence: GateInputs, limits: Limits) -> Verdict:
    """Cheaper than the no-model rate by a stated share."""
    own = cost_per_1000(evidence.y, evidence.candidate, evidence.costs)
    other = cost_per_1000(evidence.y, evidence.baseline, evidence.costs)
    limit = other * (1 - limits["min_saving"])
    return at_most(
        "beats the baseline", own, limit, f"cost per 1,000; the baseline's is {other:.0f}"
    )


def not_worse_than_the_champion(evidence: GateInputs, limits: Limits) -> Verdict:
    """Non-inferior in cost: the upper bound of the difference lies within the margin.

    The bound is the upper end of the 90% interval by a paired bootstrap over days, so a candidate
    that is worse by the margin passes in one of twenty fortnights. A mean within the margin would
    pass it in every second one.
    """
    gate = "not worse than the champion"
    if evidence.champion is None:
        return _unopposed(gate, limits["margin_cost"])
    return _within(gate, cost_difference(evidence), evidence, limits, "margin_cost")


def log_loss_holds(evidence: GateInputs, limits: Limits) -> Verdict:
    """The same of the log-loss; where there is no champion, below the baseline's."""
    gate = "log loss holds"
    if evidence.champion is not None:
        difference = _log_losses(evidence, evidence.candidate) - _log_losses(
            evidence, evidence.champion
        )
        return _within(gate, difference, evidence, limits, "margin_log_loss")
    own = float(_log_losses(evidence, evidence.candidate).mean())
    theirs = float(_log_losses(evidence, evidence.baseline).mean())
    return at_most(gate, own, theirs, f"log-loss; the baseline's is {theirs:.4f}")


def no_slice_worse_than_the_champion(evidence: GateInputs, limits: Limits) -> Verdict:
    """No slice is shown to cost more than the champion by over the slices' margin.

    For each slice the share of bootstrap draws in which the difference is within the margin, as a
    p-value; corrected by Holm (1979), so that of all healthy candidates at most `slice_alpha` are
    refused for any slice at all. Proof of harm; `no_slice_left_in_doubt` asks for its absence.
    """
    gate = "no slice worse than the champion"
    if evidence.champion is None:
        return _unopposed(gate, limits["slice_alpha"])
    difference = cost_difference(evidence)
    found = []
    for name, rows in evidence.parts(limits["min_slice"]):
        means = day_means(difference[rows], evidence.days[rows], evidence.seed, draws=2000)
        within = float(np.mean(means <= limits["margin_slice_cost"]))
        found.append((max(within, 1 / len(means)), name, float(difference[rows].mean())))
    if not found:
        return Verdict(gate, False, None, None, "no slice with enough cases: could not run")
    p, (_, name, mean) = holm_adjust(np.array([each[0] for each in found])), min(found)
    told = (
        f"smallest p-value that a slice is worse by over {limits['margin_slice_cost']:g}, by Holm "
        f"over {len(found)} slices: {name}, {mean:+.0f} per 1,000"
    )
    return at_least(gate, float(p.min()), limits["slice_alpha"], told)


def no_slice_left_in_doubt(evidence: GateInputs, limits: Limits) -> Verdict:
    """Non-inferior in each slice: the upper bound of its difference lies within a margin.

    In slices of `min_slice_compared` cases, the smaller ones pooled: of fewer, no fortnight shows
    anything. All must pass at one-sided 5%, so a candidate that is worse by the margin in any slice
    passes one time in twenty at most, however many slices there are (an intersection-union test,
    Berger 1982, needs no correction for their number).
    """
    gate = "no slice left in doubt"
    if evidence.champion is None:
        return _unopposed(gate, limits["margin_slice_proof"])
    difference = cost_difference(evidence)
    found = []
    for name, rows in evidence.parts(limits["min_slice_compared"]):
        _, high = day_bootstrap(difference[rows], evidence.days[rows], evidence.seed)
        found.append((high, name, float(difference[rows].mean())))
    if not found:
        return Verdict(gate, False, None, None, "no slice with enough cases: could not run")
    high, name, mean = max(found)
    told = (
        f"highest upper bound (one-sided 95%) of the difference to the champion in cost per 1,000, "
        f"of {len(found)} slices: {name}, {mean:+.0f}"
    )
    return at_most(gate, high, limits["margin_slice_proof"], told)


def holm_adjust(p: np.ndarray) -> np.ndarray:
    """P-values (n,) adjusted for being n, by Holm's step-down method."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def _unopposed(gate: str, limit: float) -> Verdict:
    return Verdict(gate, True, None, limit, "no champion yet: nothing to compare")


def _within(
    gate: str, difference: np.ndarray, evidence: GateInputs, limits: Limits, margin: str
) -> Verdict:
    if (days := evidence.days.nunique()) < limits["min_days"]:
        told = f"days in the holdout; of fewer than {limits['min_days']} there is no interval"
        return Verdict(gate, False, days, limits["min_days"], told)
    low, high = day_bootstrap(difference, evidence.days, evidence.seed)
    digits = 1 if margin == "margin_cost" else 4
    unit = "cost per 1,000" if margin == "margin_cost" else "log-loss"
    limit = limits[margin]
    if high < 0:
        shown = "superior"
    elif high <= limit:
        shown = f"shown not to be worse by more than {limit:g}, not shown to be superior"
    else:
        shown = f"may be worse by more than {limit:g}"
    told = (
        f"upper bound of the difference to the champion in {unit}: {difference.mean():+.{digits}f},"
        f" 90% interval {low:+.{digits}f} to {high:+.{digits}f}; {shown}"
    )
    return at_most(gate, high, limit, told)


def cost_difference(evidence: GateInputs) -> np.ndarray:
    """Of each case, candidate less champion, per 1,000."""
    if evidence.champion is None:
        raise ValueError("There is no champion to compare with.")
    own = case_costs(evidence.y, evidence.candidate, evidence.costs)
    return np.asarray(1000 * (own - case_costs(evidence.y, evidence.champion, evidence.costs)))


def _log_losses(evidence: GateInputs, prob: np.ndarray | None) -> np.ndarray:
    if prob is None or not np.all((prob >= 0) & (prob <= 1)):
        raise ValueError("Probabilities must lie in 0 to 1 and none may be missing.")
    right = np.where(evidence.y == 1, prob, 1 - prob)
    return np.asarray(-np.log(np.clip(right, MIN_PROBABILITY, 1.0)))
