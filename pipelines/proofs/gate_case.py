"""A case of the gate proofs, and the gates of each step to a registration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from pipelines.evaluation.gates.candidate_gates import CANDIDATE_GATES
from pipelines.evaluation.gates.refit_gates import REFIT_GATES, RefitModel
from pipelines.evaluation.gates.source_gates import SOURCE_GATES, TrainingSources
from pipelines.evaluation.gates.verdict import GateInputs, Verdict, run_gates
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.isolated_home import home_environment

Subject = GateInputs | RefitModel | TrainingSources
# The gates on each kind of subject, and the section of `gates` with limits of their own.
GATES: dict[type, tuple[Sequence[Callable[[Any, Any], Verdict]], str]] = {
    GateInputs: (CANDIDATE_GATES, ""),
    RefitModel: (REFIT_GATES, "artefact"),
    TrainingSources: (SOURCE_GATES, "sources"),
}


class GateCase(NamedTuple):
    """`gate` must refuse what `build` yields. A healthy case has no gate and must pass all."""

    name: str
    gate: str | None
    build: Callable[[BaseTraining], Iterator[Subject]]


def judge_case(case: GateCase, training: BaseTraining) -> list[Verdict]:
    """Run the gates on everything that the case builds, as a registration does."""
    verdicts, limits = [], training.params["gates"]
    for subject in case.build(training):
        gates, section = GATES[type(subject)]
        home = subject.settings if isinstance(subject, TrainingSources) else training.settings
        with home_environment(home):
            verdicts += run_gates(subject, {**limits, **limits.get(section, {})}, gates)
    return verdicts
