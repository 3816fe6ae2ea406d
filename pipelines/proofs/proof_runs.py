"""What all proofs share: parallel runs on the base training, and their output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.proofs.base_training import BaseTraining

N_WORKERS = 2
Result = TypeVar("Result")


def run_in_processes(
    run: Callable[[Path, int], Result], home: Path, numbers: Sequence[int]
) -> Iterator[Result]:
    """Run the cases `numbers` on the base training in `home`; yield results in their order."""
    # Spawned: each case changes the folder and the environment, on which Feast depends.
    with ProcessPoolExecutor(N_WORKERS, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, [home] * len(numbers), numbers)


@cache
def cached_base_training(home: Path) -> BaseTraining:
    from pipelines.proofs.base_training import read_base_training

    return read_base_training(home)


def choose_cases(names: Sequence[str], only: str | None) -> list[int]:
    """Return the numbers of the cases whose name contains `only`; all without it.

    Raises `UserError` if there is none.
    """
    from settings import UserError

    numbers = [n for n, name in enumerate(names) if not only or only.lower() in name.lower()]
    if not numbers:
        raise UserError(f"No case contains {only!r} in its name. Choose from {', '.join(names)}.")
    return numbers


def print_progress(name: str, holds: bool) -> None:
    print(f"  {'proven' if holds else 'NOT PROVEN'}: {name}", flush=True)


def mark_text(holds: bool) -> str:
    """Return the mark of a row for the terminal."""
    return "[green]proven[/]" if holds else "[red]NOT PROVEN[/]"


def print_table(table: Table, min_width: int) -> None:
    from rich.console import Console

    console = Console()
    console.width = max(console.width, min_width)  # a narrower table is unreadable
    console.print(table)
