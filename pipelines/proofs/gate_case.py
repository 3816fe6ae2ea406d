"""A case of the gate proofs, and the gates of each step to a registration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.evaluation.gates import candidate_gates, refit_gates, source_gates
from pipelines.evaluation.gates.verdict import GateInputs, Verdict, run_gates
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.isolated_home import home_environment


@dataclass(frozen=True)
class GateCase:
    """`gate` must refuse what `run` builds. A healthy case has no gate and must pass all."""

    name: str
    gate: str | None
    run: Callable[[BaseTraining], list[Verdict]]


def judge_candidate(training: BaseTraining, inputs: GateInputs) -> list[Verdict]:
    """Run the gates on a candidate's scores."""
    return run_gates(inputs, training.params["gates"], candidate_gates.CANDIDATE_GATES)


def judge_refit(training: BaseTraining, subject: refit_gates.RefitModel) -> list[Verdict]:
    """Run the gates on a refit."""
    gates = training.params["gates"]
    return run_gates(subject, {**gates, **gates["artefact"]}, refit_gates.REFIT_GATES)


def judge_sources(training: BaseTraining, subject: source_gates.TrainingSources) -> list[Verdict]:
    """Run the gates on the sources of a training."""
    gates = training.params["gates"]
    with home_environment(subject.settings):
        return run_gates(subject, {**gates, **gates["sources"]}, source_gates.SOURCE_GATES)
