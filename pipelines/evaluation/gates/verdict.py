"""What a gate found; one that could not run has failed, and says what stopped it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

Limits = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What a gate found: `value` against `limit`; `margin` is how far inside (below 0: out).

    `code` is stable, for tests and logs: the name of the gate's function, which `run_gates` enters.
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
    """Passed while `value` is not above `limit`."""
    return Verdict(gate, bool(value <= limit), float(value), float(limit), told)


def at_least(gate: str, value: float, limit: float, told: str) -> Verdict:
    """Passed while `value` is not below `limit`."""
    return Verdict(gate, bool(value >= limit), float(value), float(limit), told)


def worst_verdict(gate: str, found: Sequence[Verdict]) -> Verdict:
    """Of several verdicts the one that fails most, or the closest call; none at all has failed."""
    if not found:
        return Verdict(gate, False, None, None, "nothing to judge: this gate could not run")
    return min(found, key=lambda each: (each.passed, each.margin if each.passed else _depth(each)))


def _depth(verdict: Verdict) -> float:
    return -np.inf if verdict.margin is None or np.isnan(verdict.margin) else verdict.margin


def run_gates(
    evidence: Any, limits: Limits, gates: Sequence[Callable[[Any, Limits], Verdict]]
) -> list[Verdict]:
    """The verdict of every gate; a gate that raises has failed, and says what stopped it."""
    verdicts = []
    for gate in gates:
        try:
            verdict = gate(evidence, limits)
            if verdict.value is not None and not np.isfinite(verdict.value):
                verdict = Verdict(
                    verdict.gate, False, None, verdict.limit, "the value is not finite"
                )
        except Exception as error:  # whatever stopped it: a gate that could not run has failed
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
    """The code of a verdict as it was stored; an older version stored none beside the name."""
    return str(stored.get("code") or stored["gate"].replace(" ", "_"))


def gate_name(gate: Callable[..., Verdict]) -> str:
    """A gate is named as its function is."""
    return gate.__name__.replace("_", " ")
