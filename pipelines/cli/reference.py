"""The page docs/cli.md, from the help texts of the commands and the Makefile (`make docs`)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from pipelines.cli.main import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"
INTRODUCTION = """\
# Commands

Written by `make docs` from the help texts; `mlops COMMAND --help` prints the same.

Every command exits with 0 on success, 1 if something failed or was refused, and 2 for a mistake in
its use."""


def render_reference() -> str:
    """Return the page: a section per group of `mlops --help`, then the targets of make."""
    root: Any = get_command(app)
    context, group, lines = typer.Context(root, info_name="mlops"), "", [INTRODUCTION]
    for command in root.commands.values():
        if command.rich_help_panel != group:
            group = command.rich_help_panel
            lines.append(f"## {group}")
        lines += _render_command(command, context, "mlops")
    targets = re.findall(r"^([a-z-]+):.*## (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    lines.append("## Targets of make")
    lines.append("\n".join(f"- `make {name}`: {text}." for name, text in targets))
    return "\n\n".join(lines) + "\n"


def _render_command(command: Any, context: typer.Context, parent: str) -> Iterator[str]:
    name = f"{parent} {command.name}"
    yield f"### {name}"
    yield command.help
    records = (parameter.get_help_record(context) for parameter in command.params)
    if parameters := [f"- `{names}`: {' '.join(text.split())}" for names, text in records]:
        yield "\n".join(parameters)
    for subcommand in getattr(command, "commands", {}).values():
        yield from _render_command(subcommand, context, name)


if __name__ == "__main__":
    PAGE.write_text(render_reference())
