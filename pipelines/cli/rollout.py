"""The commands of rollout and experiments: the next step of a challenger, two versions compared."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.app import (
    AsOf,
    app,
    deciding_user,
    interactive_settings,
    parse_as_of,
    report_errors,
)

if TYPE_CHECKING:
    from settings import Settings

DecidedBy = Annotated[str | None, typer.Option(help="Who decides; the user's name if not given.")]
experiments = typer.Typer(no_args_is_help=True, help="Two versions side by side, by a plan.")
app.add_typer(experiments, name="experiment")


def _moment(settings: Settings, as_of: str | None) -> datetime:
    """The moment given; the world's own if none is, as for a scheduled look."""
    from pipelines.runtime import clock

    return parse_as_of(settings, as_of) if as_of else clock.now(settings)


@app.command()
def rollout(as_of: AsOf = None) -> None:
    """Look at the challenger, and take its next step if that is due: on, to the top, or out."""
    with report_errors():
        from pipelines.release import rollout_controller

        settings = interactive_settings()
        moment = _moment(settings, as_of)
        found = rollout_controller.control_rollout(settings, moment, live=as_of is None)
        typer.echo(f"As of {moment:%Y-%m-%d %H:%M} UTC. {found['told']}")


@experiments.command()
def start(
    version: Annotated[str, typer.Option(help="The challenger.")],
    effect: Annotated[float, typer.Option(help="Least difference that matters, per 1,000 cases.")],
    days: Annotated[int, typer.Option(help="Planned length, in days of decision.")],
    percent: Annotated[float, typer.Option(help="Of the keys that it answers.")] = 50.0,
    metric: Annotated[str, typer.Option(help="cost or brier.")] = "cost",
    as_of: AsOf = None,
    reason: Annotated[str, typer.Option(help="Why; it goes on the record.")] = "an experiment",
    by: DecidedBy = None,
) -> None:
    """Give a version some of the keys until a planned end; tells whether that is long enough."""
    with report_errors():
        from pipelines.release import experiment

        settings = interactive_settings()
        moment = _moment(settings, as_of)
        plan = experiment.start_experiment(
            settings, version, percent=percent, metric=metric, effect=effect, days=days,
            as_of=moment, by=deciding_user(by), why=reason,
        )  # fmt: skip
        typer.echo(f"{experiment.describe_plan(plan)}\nNext: `mlops experiment status`.")


@experiments.command()
def status(as_of: AsOf = None) -> None:
    """What it shows; before its planned end, that this is too early."""
    with report_errors():
        from pipelines.release import experiment

        settings = interactive_settings()
        moment = _moment(settings, as_of)
        plan, found = experiment.experiment_status(settings, moment)
        typer.echo(f"{experiment.describe_plan(plan)}\nVerdict: {found.told}.")


@experiments.command()
def stop(
    as_of: AsOf = None,
    reason: Annotated[str, typer.Option(help="Why now; it goes on the record.")] = "",
    by: DecidedBy = None,
) -> None:
    """End it: the champion alone again, and the conclusion on the record."""
    with report_errors():
        from pipelines.release import experiment

        settings = interactive_settings()
        moment = _moment(settings, as_of)
        plan, found = experiment.stop_experiment(settings, moment, by=deciding_user(by), why=reason)
        typer.echo(f"The champion is alone. Verdict on version {plan.version}: {found.told}.")
