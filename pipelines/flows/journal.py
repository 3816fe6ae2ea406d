"""What a turn tells: a line per event while it runs, a table of components when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class ComponentEntry:
    """One component's row: what ran, what it decided, where the evidence is."""

    component: str
    ran: str = ""
    decided: str = ""
    evidence: str = ""
    seconds: float = 0.0


@dataclass
class Journal:
    """The entries of one turn, told to the console as they happen."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    entries: dict[str, ComponentEntry] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def component(self, name: str) -> Iterator[ComponentEntry]:
        """Times the block into the component's entry, which may be opened more than once."""
        begun = time.monotonic()
        if name not in self.entries:
            self.entries[name] = ComponentEntry(name)
        self.console.print(f"\n[bold]{name}[/bold]")
        try:
            yield self.entries[name]
        finally:
            self.entries[name].seconds += time.monotonic() - begun

    def say(self, text: str) -> None:
        elapsed = int(time.monotonic() - self.started)
        self.console.print(f"[dim]{elapsed // 60:02d}:{elapsed % 60:02d}[/dim]  {text}")

    def table(self) -> None:
        """The components in the order in which they first ran."""
        table = Table(title="What this turn did", title_justify="left", show_lines=True)
        for column in ("component", "what ran", "what it decided", "s", "evidence"):
            table.add_column(column, justify="right" if column == "s" else "left", overflow="fold")
        for entry in self.entries.values():
            table.add_row(
                entry.component, entry.ran, entry.decided, f"{entry.seconds:.0f}", entry.evidence
            )
        self.console.print()
        self.console.print(table)
