"""The console output of a turn: a line for each event, and a table of components at the end."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Journal:
    """Print the events of a turn and collect the rows of its table, by component."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def component(self, name: str) -> Iterator[dict[str, str]]:
        """Yield the component's row: what it `ran` and `decided`, and where the `evidence` is.

        The block's time is added to the component; several blocks add up.
        """
        started = time.monotonic()
        self.console.print(f"\n[bold]{name}[/bold]")
        try:
            yield self.rows.setdefault(name, dict.fromkeys(("ran", "decided", "evidence"), ""))
        finally:
            self.seconds[name] += time.monotonic() - started

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
            seconds = f"{self.seconds[name]:.0f}"
            table.add_row(name, row["ran"], row["decided"], seconds, row["evidence"])
        self.console.print()
        self.console.print(table)
