"""The command `mlops`: its groups of commands, in the order of the loop."""

import os
import sys
from typing import Annotated

import typer

from pipelines.cli import loop, operations, proofs_and_replay, record, release, service
from pipelines.cli.common import LoopGroup

GROUPS = (
    ("Run the loop", loop.app),
    ("Data and training", loop.stages),
    ("Release", release.app),
    ("Approval and record", record.app),
    ("Service", service.app),
    ("Monitoring", operations.app),
    ("Schedules", operations.schedules),
    ("Proofs", proofs_and_replay.app),
    ("Replay", proofs_and_replay.replays),
)

app = typer.Typer(
    cls=LoopGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="MLOps Loop: train, release, serve, monitor and retrain a model. Start with `mlops run`.",
)  # fmt: skip
for title, group in GROUPS:
    for command in group.registered_commands:
        command.rich_help_panel = title
    for subgroup in group.registered_groups:
        subgroup.rich_help_panel = title
    app.add_typer(group)


@app.callback()
def choose_use_case(
    usecase: Annotated[
        str | None,
        typer.Option(
            help="The use case: a folder in usecases/.",
            show_default="MLOPS_USECASE, or the one in settings.py",
        ),
    ] = None,
) -> None:
    """Set the use case of the command and of the processes that it starts."""
    if usecase is None:
        return
    from contract import use_case_names
    from settings import UserError

    if usecase not in (known := use_case_names()):
        raise UserError(f"There is no use case {usecase!r}. There are: {', '.join(known)}.")
    os.environ["MLOPS_USECASE"] = usecase


if __name__ == "__main__":
    sys.exit(app())
