"""Proofs of the gates: each bad candidate is refused by its gate, each healthy one by none."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from features import durable_files
from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs import proof_runs
from settings import Settings


@dataclass(frozen=True)
class GateProof:
    """Result of a case. `refused` names all gates that refused; `evidence` is its own gate's."""

    name: str
    gate: str | None
    refused: list[str]
    evidence: str
    holds: bool
    seconds: float


def prove_gates(settings: Settings, only: str | None = None) -> list[GateProof]:
    """Run each case whose name contains `only` through the real gates; without it write the page.

    Raises `UserError` if there is no such case.
    """
    from pipelines.proofs import base_training, case_catalogue

    cases = case_catalogue.all_cases()
    numbers = proof_runs.choose_cases([case.name for case in cases], only)
    home = base_training.open_base_training(settings).settings
    shutil.rmtree(home.var / "cases", ignore_errors=True)
    proofs = []
    for proof in proof_runs.run_in_processes(_prove_case, home.home, numbers):
        proofs.append(proof)
        proof_runs.print_progress(proof.name, proof.holds)
    shutil.rmtree(home.var / "cases", ignore_errors=True)
    if not only:
        write_gate_proofs_page(settings.var / "reports" / "prove.html", proofs)
    return proofs


def _prove_case(home: Path, number: int) -> GateProof:
    from pipelines.proofs import case_catalogue

    case = case_catalogue.all_cases()[number]
    started = time.monotonic()
    verdicts = case.run(proof_runs.cached_base_training(home))
    return build_gate_proof(case.name, case.gate, verdicts, time.monotonic() - started)


def build_gate_proof(
    name: str, gate: str | None, verdicts: Sequence[Verdict], seconds: float
) -> GateProof:
    """Return the proof: it holds if `gate` refused, or without a gate if none refused.

    A gate that could not run refuses, but proves nothing.
    """
    refused = [each for each in verdicts if not each.passed]
    gates = [each.gate for each in refused]
    if gate is None:
        first = f": {refused[0].told}" if refused else ""
        evidence = f"{len(verdicts)} gates, {len(refused)} refused{first}"
        return GateProof(name, None, gates, evidence, bool(verdicts) and not refused, seconds)
    own = [each for each in refused if each.gate == gate and each.value is not None]
    evidence = f"{own[0].value:.4g}, limit {own[0].limit:.4g}: {own[0].told}" if own else "–"
    return GateProof(name, gate, gates, evidence, bool(own), seconds)


def list_unproven_gates(proofs: Sequence[GateProof]) -> list[str]:
    """Return the gates that no proof shows to refuse."""
    from pipelines.evaluation.gates import candidate_gates, refit_gates, source_gates

    proven = {proof.gate for proof in proofs if proof.holds}
    gates: list[Callable[..., Verdict]] = [
        *candidate_gates.CANDIDATE_GATES,
        *refit_gates.REFIT_GATES,
        *source_gates.SOURCE_GATES,
    ]
    return sorted({each.__name__.replace("_", " ") for each in gates} - proven)


def write_gate_proofs_page(page: Path, proofs: Sequence[GateProof]) -> None:
    """Write the table as a self-contained page."""
    from monitoring.pages.layout import render_page

    failed = [proof.name for proof in proofs if not proof.holds] + [
        f"gate without a case: {name}" for name in list_unproven_gates(proofs)
    ]
    template = "pipelines/proofs/gate_proofs.html.j2"
    durable_files.write_file(page, render_page(template, proofs=proofs, failed=failed))


def print_gate_proofs(proofs: Sequence[GateProof]) -> bool:
    """Print the table; return whether all proofs hold."""
    from rich.table import Table

    table = Table("case", "gate that must refuse", "", "evidence", box=None, pad_edge=False)
    for proof in proofs:
        mark = proof_runs.mark_text(proof.holds)
        table.add_row(proof.name, proof.gate or "none", mark, proof.evidence[:90])
    proof_runs.print_table(table, min_width=140)
    return all(proof.holds for proof in proofs)
