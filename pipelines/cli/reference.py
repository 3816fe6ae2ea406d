"""The pages that `make docs` writes.

docs/cli.md, from the help texts of the commands and the Makefile; docs/remedies.md, from the table
of stable codes.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from pipelines.cli.main import app
from pipelines.operations import doctor
from serving import remedies

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"
REMEDIES_PAGE = ROOT / "docs" / "remedies.md"
INTRODUCTION = """\
# Commands

Written by `make docs` from the help texts; `mlops COMMAND --help` prints the same.

Every command exits with 0 on success, 1 if something failed or was refused, and 2 for a mistake in
its use.

`mlops --usecase NAME COMMAND` runs a command for a use case, a folder in `usecases/`. Without the
option it is `MLOPS_USECASE`, or the one in `settings.py`. An unknown name exits with 2."""

REMEDIES_INTRODUCTION = """\
# Codes and remedies

Written by `make docs` from `serving/remedies.py`.

Errors of `mlops`, `/readyz`, `mlops doctor`, monitoring and the rollout name their code. The
`error` of a response and the name of an alert are codes in other letters: `not ready` is
`not_ready`, `PartDown` is `part_down`. Words in capitals are yours to fill in. In the stack, put
`docker compose run --rm loop` before a command that begins with `mlops`.

`tests/pipelines/cli/test_remedies.py` holds the table equal to the codes in the code. It produces
states, runs their remedies as written, and finds the states mended. It also lists the codes that it
can't produce: those of parts of the stack, and those whose remedy is a training.

`mlops doctor` checks these subjects and lists the remedies in the same order: """


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


def render_remedies() -> str:
    """Return the page: a table per speaker of the codes."""
    subjects = ", ".join(f"`{each.__name__.removeprefix('check_')}`" for each in doctor.CHECKS)
    lines = [f"{REMEDIES_INTRODUCTION}{subjects}."]
    for title, section in remedies.SECTIONS.items():
        rows = [
            f"| `{code}` | {each.message} | {f'`{each.command}`' if each.command else 'none'} |"
            for code, each in sorted(section.items())
        ]
        lines += [
            f"## {title}",
            "\n".join(["| code | what it means | remedy |", "|---|---|---|", *rows]),
        ]
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render_reference())
    REMEDIES_PAGE.write_text(render_remedies())
