"""The runner of all proofs: cases in processes of their own, and one table and page of results."""

import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

from features import durable_files
from pipelines.proofs.base_training import open_base_training
from pipelines.runtime import child_processes
from settings import Settings, UserError

N_WORKERS = 2


@dataclass(frozen=True)
class Proof:
    """Result of a case. It holds if what must happen (`expected`) is what happened (`actual`)."""

    name: str
    expected: str
    holds: bool
    actual: str
    after: str
    evidence: str


def choose_cases(names: Sequence[str], only: str | None) -> list[int]:
    """Return the numbers of the cases whose name contains `only`; all without it.

    Raises `UserError` if there is none.
    """
    numbers = [n for n, name in enumerate(names) if not only or only.lower() in name.lower()]
    if not numbers:
        raise UserError(f"No case contains {only!r} in its name. Choose from {', '.join(names)}.")
    return numbers


def run_in_processes(
    prove: Callable[[Path, int], Proof], settings: Settings, numbers: Sequence[int]
) -> Iterator[Proof]:
    """Prove the cases `numbers`, given the home of the base training; yield in their order."""
    own = open_base_training(settings).settings
    shutil.rmtree(own.state / "cases", ignore_errors=True)
    # Spawned: each case changes the folder and the environment, on which Feast depends.
    with ProcessPoolExecutor(
        N_WORKERS, mp_context=get_context("spawn"),
        # A terminal sends Ctrl-C to them, too: they leave it to this process.
        initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:  # fmt: skip
        try:
            yield from pool.map(prove, repeat(own.home), numbers)
        except KeyboardInterrupt:
            child_processes.end_descendants()  # or the pool waits for its cases
            raise
    shutil.rmtree(own.state / "cases", ignore_errors=True)


def report_proofs(proofs: Iterable[Proof], title: str, page: Path | None = None) -> bool:
    """Print each proof when it is done, then the table; return whether all proofs hold.

    Write the table to `page`, if given: a selection of cases proves no guard complete.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from monitoring.pages.layout import render_page

    done = []
    table = Table("case", "expected", "", "actual", "after", "evidence", box=None, pad_edge=False)
    for proof in proofs:
        print(f"  {'proven' if proof.holds else 'NOT PROVEN'}: {proof.name}", flush=True)
        done.append(proof)
        evidence = escape(" ".join(proof.evidence.split())[:90])
        mark = "[green]proven[/]" if proof.holds else "[red]NOT PROVEN[/]"
        table.add_row(proof.name, proof.expected, mark, proof.actual, proof.after, evidence)
    console = Console()
    console.width = max(console.width, 180)  # a narrower table is unreadable
    console.print(table)
    failed = [proof.name for proof in done if not proof.holds]
    if page is not None:
        template = "pipelines/proofs/proofs.html.j2"
        html = render_page(template, title=title, proofs=done, failed=failed)
        durable_files.write_file(page, html)
        print(f"Page: {page}")
    return bool(done) and not failed
