"""The verdict of a gate, and the loop that runs gates. A gate that raises counts as failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

Limits = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """The result of a gate: `value` against `limit`, and `told`, the words for people.

    `margin` is the distance to the limit, below 0 if the gate failed. `code` is stable, for tests
    and logs: `run_gates` sets it to the name of the gate's function.
    """

    gate: str
    passed: bool
    value: float | None
    limit: float | None
    told: str
    code: str = ""

    @property
    def margin(self) -> float | None:
        if self.value is None or self.limit is None:
            return None
        return abs(self.value - self.limit) * (1 if self.passed else -1)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "margin": self.margin}


def at_most(gate: str, value: float, limit: float, told: str) -> Verdict:
    """Return a verdict that passes if `value` is not above `limit`."""
    return Verdict(gate, bool(value <= limit), float(value), float(limit), told)


def at_least(gate: str, value: float, limit: float, told: str) -> Verdict:
    """Return a verdict that passes if `value` is not below `limit`."""
    return Verdict(gate, bool(value >= limit), float(value), float(limit), told)


def worst_verdict(gate: str, verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict that fails most, or passes most narrowly; without any, the gate fails."""
    if not verdicts:
        return Verdict(gate, False, None, None, "could not run: no case to judge")
    return min(
        verdicts,
        key=lambda each: (each.passed, each.margin if each.passed else _failed_margin(each)),
    )


def _failed_margin(verdict: Verdict) -> float:
    return -np.inf if verdict.margin is None or np.isnan(verdict.margin) else verdict.margin


def run_gates(
    inputs: Any, limits: Limits, gates: Sequence[Callable[[Any, Limits], Verdict]]
) -> list[Verdict]:
    """Return the verdict of every gate. A gate that raises fails, with the error in its verdict."""
    verdicts = []
    for gate in gates:
        try:
            verdict = gate(inputs, limits)
            if verdict.value is not None and not np.isfinite(verdict.value):
                verdict = Verdict(
                    verdict.gate, False, None, verdict.limit, "the value is not finite"
                )
        except Exception as error:  # any error: a gate that could not run has failed
            verdict = Verdict(
                gate_name(gate),
                False,
                None,
                None,
                f"could not run: {type(error).__name__}: {error}",
            )
        verdicts.append(replace(verdict, code=gate.__name__))
    return verdicts


def verdict_code(stored: Mapping[str, Any]) -> str:
    """Return the code of a stored verdict; older versions stored only the name."""
    return str(stored.get("code") or stored["gate"].replace(" ", "_"))


def gate_name(gate: Callable[..., Verdict]) -> str:
    """Return the name of a gate: that of its function, in words."""
    return gate.__name__.replace("_", " ")
