"""Proofs of the gates: each bad candidate is refused by its gate, each healthy one by none."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from contract import UseCase
from pipelines.evaluation.evaluate import CANDIDATE_GATES
from pipelines.evaluation.gates.refit_gates import REFIT_GATES, RefitModel
from pipelines.evaluation.gates.source_gates import SOURCE_GATES, TrainingSources
from pipelines.evaluation.gates.verdict import GateInputs, Verdict, run_gates
from pipelines.proofs import proof_runs
from pipelines.proofs.bad_candidates import BAD_CANDIDATES
from pipelines.proofs.bad_sources import BAD_SOURCES, use_case_faults
from pipelines.proofs.base_training import BaseTraining, GateCase, Subject, read_base_training
from pipelines.proofs.proof_runs import Proof
from pipelines.replay.replay_world import home_environment
from settings import Settings

# The gates on each kind of subject, and the section of `gates` with limits of their own.
GATES: dict[type, tuple[Sequence[Callable[[Any, Any], Verdict]], str]] = {
    GateInputs: (CANDIDATE_GATES, ""),
    RefitModel: (REFIT_GATES, "artefact"),
    TrainingSources: (SOURCE_GATES, "sources"),
}


def healthy(seed: int, training: BaseTraining) -> Iterator[Subject]:
    training = replace(training, seed=training.seed + seed)
    yield training.gate_inputs(training.healthy)
    yield training.refit_model(training.refit, f"healthy-{seed}")
    if seed < 2:  # the sources have the same data for each seed
        yield training.training_sources()


def gate_cases(use_case: UseCase) -> list[GateCase]:
    """Return all cases: bad ones of every use case, its own, and healthy ones."""
    seeds = (GateCase(f"healthy, seed {seed}", None, partial(healthy, seed)) for seed in range(5))
    return [*BAD_CANDIDATES, *BAD_SOURCES, *use_case_faults(use_case), *seeds]


def prove_gates(settings: Settings, only: str | None = None) -> Iterator[Proof]:
    """Run each case whose name contains `only` through the real gates.

    Without `only`, a gate that no case proves is a failed proof, too. Raises `UserError` if there
    is no such case.
    """
    numbers = proof_runs.choose_cases([case.name for case in gate_cases(settings.use_case)], only)
    proven = set()
    for proof in proof_runs.run_in_processes(_prove_case, settings, numbers):
        yield proof
        if proof.holds:
            proven.add(proof.expected)
    if not only:
        for gate in unproven_gates(proven):
            yield Proof(f"gate without a case: {gate}", gate, False, "–", "–", "no case proves it")


def _prove_case(home: Path, number: int) -> Proof:
    started = time.monotonic()
    training = read_base_training(home)
    case = gate_cases(training.settings.use_case)[number]
    verdicts = judge_case(case, training)
    return build_gate_proof(case, verdicts, time.monotonic() - started)


def judge_case(case: GateCase, training: BaseTraining) -> list[dict[str, Any]]:
    """Run the gates on everything that the case builds, as a registration does."""
    verdicts: list[dict[str, Any]] = []
    limits = training.params["gates"]
    for subject in case.build(training):
        gates, section = GATES[type(subject)]
        home = subject.settings if isinstance(subject, TrainingSources) else training.settings
        with home_environment(home):
            verdicts += run_gates(subject, {**limits, **limits.get(section, {})}, gates)
    return verdicts


def build_gate_proof(
    case: GateCase, verdicts: Sequence[Mapping[str, Any]], seconds: float
) -> Proof:
    """Return the proof: it holds if the case's gate refused, or without a gate if none refused.

    A gate that could not run refuses, but proves nothing.
    """
    refused = [each for each in verdicts if not each["passed"]]
    text = "–"
    if case.gate is None:
        holds = bool(verdicts) and not refused
        if refused:
            text = refused[0]["told"]
    else:
        own = [each for each in refused if each["gate"] == case.gate and each["value"] is not None]
        holds = bool(own)
        if own:
            value, limit = own[0]["value"], own[0]["limit"]
            text = f"{value:.4g}, limit {limit:.4g}: {own[0]['told']}"
    gates = ", ".join(each["gate"] for each in refused)
    actual = f"refused by {gates}" if refused else f"{len(verdicts)} gates, none refused"
    return Proof(case.name, case.gate or "none", holds, actual, f"{seconds:.1f} s", text)


def unproven_gates(proven: set[str]) -> list[str]:
    """Return the gates whose name is not in `proven`."""
    names = {each.__name__.replace("_", " ") for gates, _ in GATES.values() for each in gates}
    return sorted(names - proven)
