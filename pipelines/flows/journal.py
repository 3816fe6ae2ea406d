"""The console output of a turn: a line for each event, and a table of components at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from settings import Settings


@dataclass
class Row:
    """A component in the table: what it ran, what it decided, where the evidence is."""

    ran: str = ""
    decided: str = ""
    evidence: str = ""
    seconds: float = 0.0


def place(settings: Settings, *paths: Path) -> str:
    """Return the paths, relative to the home where they are below it."""
    home = settings.home.resolve()
    return ", ".join(
        str(path.relative_to(home) if path.is_relative_to(home) else path) for path in paths
    )


@dataclass
class Journal:
    """Print the events of a turn and collect the rows of its table, by component."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    rows: dict[str, Row] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def component(self, name: str) -> Iterator[Row]:
        """Yield the component's row and add the block's time to it; several blocks add up."""
        started = time.monotonic()
        row = self.rows.setdefault(name, Row())
        self.console.print(f"\n[bold]{name}[/bold]")
        try:
            yield row
        finally:
            row.seconds += time.monotonic() - started

    def say(self, text: str) -> None:
        """Print one line with the minutes and seconds since the start."""
        elapsed = int(time.monotonic() - self.started)
        self.console.print(f"[dim]{elapsed // 60:02d}:{elapsed % 60:02d}[/dim]  {text}")

    def print_table(self) -> None:
        """Print the components in the order of their first block."""
        table = Table(title="Summary of this turn", title_justify="left", show_lines=True)
        for column in ("component", "what ran", "what it decided", "s", "evidence"):
            table.add_column(column, justify="right" if column == "s" else "left", overflow="fold")
        for name, row in self.rows.items():
            table.add_row(name, row.ran, row.decided, f"{row.seconds:.0f}", row.evidence)
        self.console.print()
        self.console.print(table)
