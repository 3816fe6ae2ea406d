"""Do the gates refuse what they must, and let through what they should? Cases, a loop, a table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from html import escape
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from features import durable_files
from pipelines.evaluation.gates.verdict import Verdict
from settings import Settings

N_WORKERS = 2


@dataclass(frozen=True)
class GateProof:
    """What came of a case: `refused` names every gate that refused, `evidence` is of its own."""

    told: str
    gate: str | None
    refused: list[str]
    evidence: str
    holds: bool
    seconds: float


def prove_gates(settings: Settings, only: str | None = None) -> list[GateProof]:
    """Every case whose words contain `only`, through the real pipeline; writes the page.

    Raises `UserError` if there is no such case.
    """
    from pipelines.proofs import base_training, case_catalogue
    from settings import UserError

    every = case_catalogue.all_cases()
    chosen = [n for n, case in enumerate(every) if not only or only.lower() in case.told.lower()]
    if not chosen:
        raise UserError(f"No case is told by {only!r}: {', '.join(case.told for case in every)}.")
    made = base_training.open_base_training(settings)
    shutil.rmtree(made.settings.var / "cases", ignore_errors=True)
    found = []
    for proof in _run(made.settings.home, chosen):
        found.append(proof)
        print(f"  {'proven' if proof.holds else 'NOT PROVEN'}: {proof.told}", flush=True)
    shutil.rmtree(made.settings.var / "cases", ignore_errors=True)
    if not only:
        write_gate_proofs_page(settings.var / "reports" / "prove.html", found)
    return found


def _run(home: Path, chosen: Sequence[int]) -> Iterator[GateProof]:
    # Spawned, and two at once: each has its own folder and environment, which Feast depends on.
    with ProcessPoolExecutor(N_WORKERS, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_one, [home] * len(chosen), chosen)


def _one(home: Path, number: int) -> GateProof:
    from pipelines.proofs import case_catalogue

    case = case_catalogue.all_cases()[number]
    started = time.monotonic()
    verdicts = case.made(_ground(home))
    return build_gate_proof(case.told, case.gate, verdicts, time.monotonic() - started)


@cache
def _ground(home: Path) -> Any:
    from pipelines.proofs import base_training

    return base_training.read_base_training(home)


def build_gate_proof(
    told: str, gate: str | None, verdicts: Sequence[Verdict], seconds: float
) -> GateProof:
    """The proof of a case: refused by the gate that it names, or healthy and refused by none.

    A gate that could not run has refused, and has proven nothing.
    """
    refused = [each for each in verdicts if not each.passed]
    names = [each.gate for each in refused]
    if gate is None:
        first = f": {refused[0].told}" if refused else ""
        return GateProof(
            told, None, names, f"{len(verdicts)} gates, {len(refused)} refused{first}",
            bool(verdicts) and not refused, seconds,
        )  # fmt: skip
    own = [each for each in refused if each.gate == gate and each.value is not None]
    evidence = f"{own[0].value:.4g}, limit {own[0].limit:.4g}: {own[0].told}" if own else "–"
    return GateProof(told, gate, names, evidence, bool(own), seconds)


def list_unproven_gates(found: Sequence[GateProof]) -> list[str]:
    """The gates that no case has shown to refuse."""
    from pipelines.evaluation.gates import candidate_gates, refit_gates, source_gates, verdict

    proven = {proof.gate for proof in found if proof.holds}
    every: list[Callable[..., Verdict]] = [
        *candidate_gates.CANDIDATE_GATES,
        *refit_gates.REFIT_GATES,
        *source_gates.SOURCE_GATES,
    ]
    names = {verdict.gate_name(each) for each in every}
    return sorted(names - proven)


def write_gate_proofs_page(page: Path, found: Sequence[GateProof]) -> None:
    """The table as a page that needs nothing but itself."""
    from monitoring.pages.layout import number_cells, render_document, render_table

    rows = []
    for proof in found:
        kind, mark = ("passed", "✓ proven") if proof.holds else ("refused", "✗ not proven")
        others = [name for name in proof.refused if name != proof.gate]
        rows.append(
            f'<tr class="{kind}"><th>{escape(proof.told)}</th>'
            f'<td>{escape(proof.gate or "none")}</td><td class="mark">{mark}</td>'
            f'<td class="told soft">{escape(proof.evidence)}</td>'
            f'<td class="soft">{escape(", ".join(others))}</td>'
            + number_cells([f"{proof.seconds:.1f}"]) + "</tr>"
        )  # fmt: skip
    failed = [proof.told for proof in found if not proof.holds] + [
        f"gate without a case: {name}" for name in list_unproven_gates(found)
    ]
    outcome = (
        f'<div class="outcome {"none" if failed else "one"}"><strong>{len(found)} cases, '
        f"{len(failed)} failed.</strong><p>{escape('; '.join(failed))}</p></div>"
    )
    heads = ["case", "gate that must refuse", "", "evidence", "refused by others, too", "*seconds"]
    durable_files.write_file(
        page,
        render_document(
            "Gates proven", ["<h1>Gates proven to refuse</h1>", outcome, render_table(heads, rows)]
        ),
    )


def print_gate_proofs(found: Sequence[GateProof]) -> bool:
    """Prints the table; whether every case holds."""
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "gate that must refuse", "", "evidence", box=None, pad_edge=False)
    for proof in found:
        mark = "[green]proven[/]" if proof.holds else "[red]NOT PROVEN[/]"
        table.add_row(proof.told, proof.gate or "none", mark, proof.evidence[:90])
    console = Console()
    console.width = max(console.width, 140)  # a narrower one can't be read
    console.print(table)
    return all(proof.holds for proof in found)
