"""The input of the gates on a candidate, the verdict of a gate, and the loop that runs gates."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from contract import Change, Predict

Limits = Mapping[str, Any]
# Measures what changes of the input do to the answers; `UseCase.behaviours`.
Behaviours = Callable[[Predict, pd.DataFrame, Limits], Mapping[str, Change]]


@dataclass(frozen=True)
class GateInputs:
    """The holdout and probabilities on it; arrays have shape (n_cases,) and the same order.

    `frame` has the model's `columns`, `label` and `decision_time`. `champion` is None without a
    champion. `predict` returns the candidate's probabilities on changed rows.
    """

    frame: pd.DataFrame
    candidate: np.ndarray
    baseline: np.ndarray
    champion: np.ndarray | None
    predict: Callable[[pd.DataFrame], np.ndarray]
    slices: Mapping[str, pd.Series]
    manifest: Mapping[str, Any]
    costs: dict[str, float]
    seed: int
    behaviours: Behaviours
    columns: Sequence[str] = ()

    @property
    def y(self) -> np.ndarray:
        return self.frame["label"].to_numpy()

    @property
    def days(self) -> pd.Series:
        """The UTC day of each decision; the bootstrap treats days, not cases, as independent."""
        return self.frame["decision_time"].dt.floor("D")

    def pooled_slices(self, min_cases: int) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and mask of each slice with at least `min_cases` cases.

        Smaller slices of a kind are pooled, so that their cases count too. A pool that is still
        too small is left out.
        """
        for kind, values in self.slices.items():
            counts = values.value_counts()
            small = set(counts[counts < min_cases].index)
            groups = values.where(~values.isin(small), "others, pooled").to_numpy()
            for value in sorted(set(groups)):
                rows = groups == value
                if rows.sum() >= min_cases:
                    yield f"{kind} {value} ({rows.sum():,} cases)", rows


@dataclass(frozen=True)
class Verdict:
    """The result of a gate: `value` against `limit`, and `told`, the words for people."""

    passed: bool
    value: float | None
    limit: float | None
    told: str

    @property
    def margin(self) -> float | None:
        """The distance to the limit, below 0 if the gate failed."""
        if self.value is None or self.limit is None:
            return None
        return abs(self.value - self.limit) * (1 if self.passed else -1)


def at_most(value: float, limit: float, text: str) -> Verdict:
    """Return a verdict that passes if `value` is not above `limit`."""
    return Verdict(bool(value <= limit), float(value), float(limit), text)


def could_not_run(why: object) -> Verdict:
    """Return the verdict of a gate that could not run: it has failed."""
    return Verdict(False, None, None, f"could not run: {why}")


def none_stated(what: str) -> Verdict:
    """Return the verdict of a gate on what the use case does not state: it passes, and says so."""
    return Verdict(True, None, None, f"none stated: the use case has no {what}")


def worst_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict that fails most, or passes most narrowly; without any, the gate fails."""

    def rank(verdict: Verdict) -> tuple[bool, float]:
        margin = verdict.margin
        return verdict.passed, -np.inf if margin is None or np.isnan(margin) else margin

    return min(verdicts, key=rank) if verdicts else could_not_run("no case to judge")


def judge_behaviours(
    behaviours: Behaviours, predict: Predict, frame: pd.DataFrame, limits: Limits, seed: int
) -> Verdict:
    """Return the verdict on the use case's behaviours; `told` names the weakest."""
    sample = frame.sample(min(len(frame), limits["behaviour_rows"]), random_state=seed)
    results = behaviours(predict, sample, limits)
    if not results:
        return none_stated("behaviours")
    return worst_verdict([
        Verdict(each.passed, each.value, each.limit, name) for name, each in results.items()
    ])  # fmt: skip


def run_gates(
    inputs: Any, limits: Limits, gates: Sequence[Callable[[Any, Limits], Verdict]]
) -> list[dict[str, Any]]:
    """Return the verdict of every gate as JSON types: its fields, `gate`, `code` and `margin`.

    `code` is stable, for tests and logs: the name of the gate's function; `gate` is the same in
    words. A gate that raises fails, with the error in its verdict.
    """
    verdicts = []
    for gate in gates:
        try:
            verdict = gate(inputs, limits)
            if verdict.value is not None and not np.isfinite(verdict.value):
                verdict = Verdict(False, None, verdict.limit, "the value is not finite")
        except Exception as error:  # any error: a gate that could not run has failed
            verdict = could_not_run(f"{type(error).__name__}: {error}")
        code = gate.__name__
        verdicts.append({
            "gate": code.replace("_", " "), **asdict(verdict), "code": code,
            "margin": verdict.margin,
        })  # fmt: skip
    return verdicts


def verdict_code(stored: Mapping[str, Any]) -> str:
    """Return the code of a stored verdict; older versions stored only the name."""
    return str(stored.get("code") or stored["gate"].replace(" ", "_"))
