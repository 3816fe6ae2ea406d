"""Commands on the challenger's rollout and on experiments with two versions."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import (
    DecidedBy,
    Moment,
    deciding_user,
    interactive_settings,
    parse_moment,
    report_errors,
)

app = typer.Typer()
experiments = typer.Typer(
    no_args_is_help=True, help="Compare two versions by a plan: docs/rollout.md."
)
app.add_typer(experiments, name="experiment")


@app.command()
def rollout(as_of: Moment = None) -> None:
    """Judge the challenger and take its next step if due: advance, promote or withdraw it."""
    with report_errors():
        from pipelines.release import rollout_controller

        settings = interactive_settings()
        moment = parse_moment(settings, as_of)
        step = rollout_controller.control_rollout(settings, moment, live=as_of is None)
        typer.echo(f"As of {moment:%Y-%m-%d %H:%M} UTC. {step['told']}")


@experiments.command()
def start(
    version: Annotated[str, typer.Option(help="The challenger.")],
    effect: Annotated[
        float, typer.Option(help="Smallest difference that matters, per 1,000 cases.")
    ],
    days: Annotated[int, typer.Option(help="Planned length, in days of decisions.")],
    percent: Annotated[float, typer.Option(help="Percentage of the keys it answers.")] = 50.0,
    metric: Annotated[str, typer.Option(help="cost or brier.")] = "cost",
    as_of: Moment = None,
    reason: Annotated[str, typer.Option(help="Why; recorded with the change.")] = "an experiment",
    by: DecidedBy = None,
) -> None:
    """Give a version some of the keys until a planned end; print whether that is long enough."""
    with report_errors():
        from pipelines.release import experiment

        settings = interactive_settings()
        moment = parse_moment(settings, as_of)
        plan = experiment.start_experiment(
            settings, version, percent=percent, metric=metric, effect=effect, days=days,
            as_of=moment, by=deciding_user(by), why=reason,
        )  # fmt: skip
        typer.echo(f"{experiment.describe_plan(plan)}\nNext: `mlops experiment status`.")


@experiments.command()
def status(as_of: Moment = None) -> None:
    """Show the result; before the planned end, say that it is too early."""
    with report_errors():
        from pipelines.release import experiment

        settings = interactive_settings()
        plan, verdict = experiment.experiment_status(settings, parse_moment(settings, as_of))
        typer.echo(f"{experiment.describe_plan(plan)}\nVerdict: {verdict.told}.")


@experiments.command()
def stop(
    as_of: Moment = None,
    reason: Annotated[str, typer.Option(help="Why now; recorded with the change.")] = "",
    by: DecidedBy = None,
) -> None:
    """End the experiment: withdraw the version and record the conclusion."""
    with report_errors():
        from pipelines.release import experiment

        settings = interactive_settings()
        moment = parse_moment(settings, as_of)
        plan, verdict = experiment.stop_experiment(
            settings, moment, by=deciding_user(by), why=reason
        )
        typer.echo(f"The champion is alone. Verdict on version {plan.version}: {verdict.told}.")
