"""What is a case, and what do the gates of each part of the way say of it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.evaluation.gates import candidate_gates, refit_gates, source_gates
from pipelines.evaluation.gates.verdict import Verdict, run_gates
from pipelines.proofs.base_training import BaseTraining, home_environment


@dataclass(frozen=True)
class GateCase:
    """`gate` must refuse what `made` makes; a healthy candidate has none and must pass all."""

    told: str
    gate: str | None
    made: Callable[[BaseTraining], list[Verdict]]


def judge_candidate(ground: BaseTraining, evidence: candidate_gates.GateInputs) -> list[Verdict]:
    """What the gates say of a candidate."""
    return run_gates(evidence, ground.params["gates"], candidate_gates.CANDIDATE_GATES)


def judge_refit(ground: BaseTraining, subject: refit_gates.RefitModel) -> list[Verdict]:
    """And of its refit."""
    gates = ground.params["gates"]
    return run_gates(subject, {**gates, **gates["artefact"]}, refit_gates.REFIT_GATES)


def judge_sources(ground: BaseTraining, subject: source_gates.TrainingSources) -> list[Verdict]:
    """And of what it was made from."""
    gates = ground.params["gates"]
    with home_environment(subject.settings):
        return run_gates(subject, {**gates, **gates["sources"]}, source_gates.SOURCE_GATES)
