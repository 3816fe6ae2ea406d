"""The command `mlops`: its groups of commands, in the order of the loop."""

import sys

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

if __name__ == "__main__":
    sys.exit(app())
