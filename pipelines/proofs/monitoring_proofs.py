"""Proofs of monitoring: each fault in a feed is noticed in time, with the right reaction.

Real faults run in real batches through the real steps. Benign changes must raise no alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from features import durable_files
from pipelines.proofs import proof_runs
from pipelines.proofs.fault_simulation import FaultOutcome, simulate_fault
from settings import Settings
from usecase.feed_faults import BENIGN, FAULTS, FeedFault

ALL_FAULTS = (*FAULTS, *BENIGN)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class FaultProof:
    """Result of a fault. `hours` and `cases` until its own watcher noticed it, else None."""

    fault: FeedFault
    reaction: str
    noticed: list[str]
    hours: float | None
    cases: int | None
    evidence: str

    @property
    def holds(self) -> bool:
        """Whether the right watcher (or none) noticed in time, and the reaction is right."""
        if self.reaction != self.fault.reaction:
            return False
        if self.fault.watcher == "none":
            return not self.noticed
        return self.hours is not None and self.hours <= self.fault.hours


def prove_monitoring(settings: Settings, only: str | None = None) -> list[FaultProof]:
    """Run each fault whose name contains `only`, in its own home; without it write the page.

    Raises `UserError` if there is no such fault.
    """
    from pipelines.proofs import base_training

    numbers = proof_runs.choose_cases([fault.told for fault in ALL_FAULTS], only)
    home = base_training.open_base_training(settings).settings.home
    proofs = []
    outcomes = proof_runs.run_in_processes(_simulate, home, numbers)
    for number, outcome in zip(numbers, outcomes, strict=True):
        proof = build_fault_proof(ALL_FAULTS[number], outcome)
        proofs.append(proof)
        proof_runs.print_progress(proof.fault.told, proof.holds)
    if not only:
        write_fault_proofs_page(settings.var / "reports" / "prove-monitoring.html", proofs)
    return proofs


def _simulate(home: Path, number: int) -> FaultOutcome:
    return simulate_fault(proof_runs.cached_base_training(home), ALL_FAULTS[number])


def build_fault_proof(fault: FeedFault, outcome: FaultOutcome) -> FaultProof:
    """Compare the outcome of a fault with what must happen."""
    if outcome.refused:
        reaction = "refuse"
    elif outcome.retrained:
        reaction = "retrain"
    else:
        reaction = "alarm" if outcome.notices else "nothing"
    noticed = list(dict.fromkeys(each.watcher for each in outcome.notices))
    own = [
        each
        for each in outcome.notices
        if each.watcher == fault.watcher and each.at > outcome.began
    ]
    if not own:
        evidence = outcome.notices[0].text if outcome.notices else fault.why
        return FaultProof(fault, reaction, noticed, None, None, evidence)
    first = own[0]
    n_cases = int(outcome.decision_times.between(outcome.began, first.at, "left").sum())
    hours = (first.at - outcome.began) / HOUR
    return FaultProof(fault, reaction, noticed, hours, n_cases, first.text)


def _cells(proof: FaultProof) -> list[str]:
    fault = proof.fault
    expected = f"{fault.watcher}, {fault.reaction}"
    if fault.watcher != "none":
        expected += f", within {fault.hours:g} h"
    happened = f"{', '.join(proof.noticed) or 'none'}: {proof.reaction}"
    after = "–" if proof.hours is None else f"{proof.hours:g} h, {proof.cases:,} cases"
    return [fault.told, expected, happened, after]


def write_fault_proofs_page(page: Path, proofs: Sequence[FaultProof]) -> None:
    """Write the table as a self-contained page."""
    from monitoring.pages.layout import render_page

    rows = [(proof, _cells(proof)) for proof in proofs]
    failed = [proof.fault.told for proof in proofs if not proof.holds]
    template = "pipelines/proofs/monitoring_proofs.html.j2"
    durable_files.write_file(page, render_page(template, rows=rows, failed=failed))


def print_fault_proofs(proofs: Sequence[FaultProof]) -> bool:
    """Print the table; return whether all proofs hold."""
    from rich.table import Table

    table = Table("fault", "expected", "", "actual", "after", "evidence", box=None, pad_edge=False)
    for proof in proofs:
        name, expected, happened, after = _cells(proof)
        evidence = " ".join((proof.fault.why or proof.evidence).split())
        mark = proof_runs.mark_text(proof.holds)
        table.add_row(name, expected, mark, happened, after, evidence[:90])
    proof_runs.print_table(table, min_width=180)
    return all(proof.holds for proof in proofs)
