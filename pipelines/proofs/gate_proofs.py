"""Proofs of the gates: each bad candidate is refused by its gate, each healthy one by none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs import bad_candidates, bad_refits, bad_sources, proof_runs, use_case_faults
from pipelines.proofs.base_training import BaseTraining, read_base_training
from pipelines.proofs.gate_case import GATES, GateCase, Subject, judge_case
from pipelines.proofs.proof_runs import Proof
from settings import Settings


def healthy(seed: int, training: BaseTraining) -> Iterator[Subject]:
    training = replace(training, seed=training.seed + seed)
    yield training.gate_inputs(training.healthy)
    yield training.refit_model(training.refit, f"healthy-{seed}")
    if seed < 2:  # the sources have the same data for each seed
        yield training.training_sources()


CASES = (
    *bad_candidates.BAD_CANDIDATES, *bad_refits.BAD_REFITS, *bad_sources.BAD_SOURCES,
    *use_case_faults.USE_CASE_FAULTS,
    *(GateCase(f"healthy, seed {seed}", None, partial(healthy, seed)) for seed in range(5)),
)  # fmt: skip


def prove_gates(settings: Settings, only: str | None = None) -> Iterator[Proof]:
    """Run each case whose name contains `only` through the real gates.

    Without `only`, a gate that no case proves is a failed proof, too. Raises `UserError` if there
    is no such case.
    """
    numbers = proof_runs.choose_cases([case.name for case in CASES], only)
    proven = set()
    for proof in proof_runs.run_in_processes(_prove_case, settings, numbers):
        yield proof
        proven |= {proof.expected} if proof.holds else set()
    if not only:
        for gate in unproven_gates(proven):
            yield Proof(f"gate without a case: {gate}", gate, False, "–", "–", "no case proves it")


def _prove_case(home: Path, number: int) -> Proof:
    started = time.monotonic()
    verdicts = judge_case(CASES[number], read_base_training(home))
    return build_gate_proof(CASES[number], verdicts, time.monotonic() - started)


def build_gate_proof(case: GateCase, verdicts: Sequence[Verdict], seconds: float) -> Proof:
    """Return the proof: it holds if the case's gate refused, or without a gate if none refused.

    A gate that could not run refuses, but proves nothing.
    """
    refused = [each for each in verdicts if not each.passed]
    if case.gate is None:
        holds, told = bool(verdicts) and not refused, refused[0].told if refused else "–"
    else:
        own = [each for each in refused if each.gate == case.gate and each.value is not None]
        holds, told = bool(own), "–"
        if own:
            told = f"{own[0].value:.4g}, limit {own[0].limit:.4g}: {own[0].told}"
    gates = ", ".join(each.gate for each in refused)
    actual = f"refused by {gates}" if refused else f"{len(verdicts)} gates, none refused"
    return Proof(case.name, case.gate or "none", holds, actual, f"{seconds:.1f} s", told)


def unproven_gates(proven: set[str]) -> list[str]:
    """Return the gates whose name is not in `proven`."""
    names = {each.__name__.replace("_", " ") for gates, _ in GATES.values() for each in gates}
    return sorted(names - proven)
