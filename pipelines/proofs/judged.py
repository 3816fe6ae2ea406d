"""What is a case, and what do the gates of each part of the way say of it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines import artefact, gate
from pipelines.gates import sources
from pipelines.ground import Ground, inside
from pipelines.verdict import Verdict, judge


@dataclass(frozen=True)
class Case:
    """`gate` must refuse what `made` makes; a healthy candidate has none and must pass all."""

    told: str
    gate: str | None
    made: Callable[[Ground], list[Verdict]]


def candidate(ground: Ground, evidence: gate.Evidence) -> list[Verdict]:
    """What the gates say of a candidate."""
    return judge(evidence, ground.params["gates"], gate.GATES)


def refit(ground: Ground, subject: artefact.Artefact) -> list[Verdict]:
    """And of its refit."""
    gates = ground.params["gates"]
    return judge(subject, {**gates, **gates["artefact"]}, artefact.GATES)


def made_from(ground: Ground, subject: sources.Sources) -> list[Verdict]:
    """And of what it was made from."""
    gates = ground.params["gates"]
    with inside(subject.settings):
        return judge(subject, {**gates, **gates["sources"]}, sources.GATES)
