"""The command `mlops`: its groups of commands, in the order of the loop."""

from __future__ import annotations

import sys

import typer

from pipelines.cli import (
    loop,
    monitoring,
    proofs,
    record,
    release,
    replay,
    rollout,
    schedules,
    service,
    training,
)

GROUPS = (
    ("Run the loop", loop.app),
    ("Data and training", training.app),
    ("Release", release.app),
    ("Release", rollout.app),
    ("Approval and record", record.app),
    ("Service", service.app),
    ("Monitoring", monitoring.app),
    ("Schedules", schedules.app),
    ("Proofs", proofs.app),
    ("Replay", replay.app),
)

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
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
