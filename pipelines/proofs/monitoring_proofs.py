"""Is every fault of a feed noticed, by whom and how soon, and is what follows right?

Real faults in real batches, through the real steps; and changes that are none, which must call
nobody. A list of cases and a loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from html import escape
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from features import durable_files
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.fault_simulation import FaultOutcome, Notice, simulate_fault
from pipelines.proofs.gate_proofs import N_WORKERS
from settings import Settings, UserError
from usecase.feed_faults import BENIGN, FAULTS, FeedFault

ALL_FAULTS = (*FAULTS, *BENIGN)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class FaultProof:
    """What came of a fault; `hours` and `cases` until its own watcher noticed, else None."""

    fault: FeedFault
    reaction: str
    noticed: list[str]
    hours: float | None
    cases: int | None
    evidence: str

    @property
    def holds(self) -> bool:
        """Noticed by its watcher in time answered rightly; or by nobody where that is right."""
        if self.reaction != self.fault.reaction:
            return False
        if self.fault.watcher == "none":
            return not self.noticed
        return self.hours is not None and self.hours <= self.fault.hours


def prove_monitoring(settings: Settings, only: str | None = None) -> list[FaultProof]:
    """Every fault whose words contain `only`, each in a home of its own; writes the page.

    Raises `UserError` if there is no such fault.
    """
    from pipelines.proofs import base_training

    chosen = [
        n for n, fault in enumerate(ALL_FAULTS) if not only or only.lower() in fault.told.lower()
    ]
    if not chosen:
        told = ", ".join(fault.told for fault in ALL_FAULTS)
        raise UserError(f"No fault is told by {only!r}: {told}.")
    made = base_training.open_base_training(settings)
    found = []
    for each in _run(made.settings.home, chosen):
        found.append(each)
        print(f"  {'proven' if each.holds else 'NOT PROVEN'}: {each.fault.told}", flush=True)
    if not only:
        write_fault_proofs_page(settings.var / "reports" / "prove-monitoring.html", found)
    return found


def _run(home: Path, chosen: Sequence[int]) -> Iterator[FaultProof]:
    # Spawned, and two at once: each has its own folder and environment, which Feast depends on.
    with ProcessPoolExecutor(N_WORKERS, mp_context=get_context("spawn")) as pool:
        came = pool.map(_one, [home] * len(chosen), chosen)
        for number, each in zip(chosen, came, strict=True):
            yield build_fault_proof(ALL_FAULTS[number], each)


def _one(home: Path, number: int) -> FaultOutcome:
    return simulate_fault(_ground(home), ALL_FAULTS[number])


@cache
def _ground(home: Path) -> BaseTraining:
    from pipelines.proofs import base_training

    return base_training.read_base_training(home)


def build_fault_proof(fault: FeedFault, came: FaultOutcome) -> FaultProof:
    """Puts what came of a fault beside what should have come of it."""
    if came.refused:
        reaction = "refuse"
    elif came.retrained:
        reaction = "retrain"
    else:
        reaction = "alarm" if came.notices else "nothing"
    own = [each for each in came.notices if each.watcher == fault.watcher and each.at > came.began]
    first: Notice | None = own[0] if own else None
    noticed = list(dict.fromkeys(each.watcher for each in came.notices))
    if first is None:
        told = came.notices[0].told if came.notices else fault.why
        return FaultProof(fault, reaction, noticed, None, None, told)
    decided = came.decided
    n_cases = int(((decided >= came.began) & (decided < first.at)).sum())
    return FaultProof(fault, reaction, noticed, (first.at - came.began) / HOUR, n_cases, first.told)


def _cells(found: FaultProof) -> list[str]:
    after = "–" if found.hours is None else f"{found.hours:g} h, {found.cases:,} cases"
    wanted = f"{found.fault.watcher}, {found.fault.reaction}"
    if found.fault.watcher != "none":
        wanted += f", within {found.fault.hours:g} h"
    came = f"{', '.join(found.noticed) or 'none'}: {found.reaction}"
    return [found.fault.told, wanted, came, after]


def write_fault_proofs_page(page: Path, found: Sequence[FaultProof]) -> None:
    """The table as a page that needs nothing but itself."""
    from monitoring.pages.layout import render_document, render_table

    rows = []
    for each in found:
        kind, mark = ("passed", "✓ proven") if each.holds else ("refused", "✗ not proven")
        told, *cells = (escape(cell) for cell in _cells(each))
        rows.append(
            f'<tr class="{kind}"><th>{told}</th><td class="mark">{mark}</td>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + f'<td class="told soft">{escape(each.fault.why or each.evidence)}</td></tr>'
        )
    failed = [each.fault.told for each in found if not each.holds]
    outcome = (
        f'<div class="outcome {"none" if failed else "one"}"><strong>{len(found)} cases, '
        f"{len(failed)} failed.</strong><p>{escape('; '.join(failed))}</p></div>"
    )
    heads = ["fault", "", "must be noticed by, and lead to", "was noticed by, and led to", "after",
             "evidence"]  # fmt: skip
    sections: list[Any] = ["<h1>Faults noticed</h1>", outcome, render_table(heads, rows)]
    durable_files.write_file(page, render_document("Faults noticed", sections))


def print_fault_proofs(found: Sequence[FaultProof]) -> bool:
    """Prints the table; whether every case holds."""
    from rich.console import Console
    from rich.table import Table

    table = Table("fault", "must", "", "did", "after", "evidence", box=None, pad_edge=False)
    for each in found:
        told, wanted, came, after = _cells(each)
        mark = "[green]proven[/]" if each.holds else "[red]NOT PROVEN[/]"
        evidence = " ".join((each.fault.why or each.evidence).split())
        table.add_row(told, wanted, mark, came, after, evidence[:90])
    console = Console()
    console.width = max(console.width, 180)  # a narrower one can't be read
    console.print(table)
    return all(each.holds for each in found)
