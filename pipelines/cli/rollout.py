"""Commands on the challenger's rollout and on experiments with two versions."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import DecidedBy, Moment, Reason, home_at_moment

app = typer.Typer()
experiments = typer.Typer(
    no_args_is_help=True, help="Compare two versions by a plan: docs/rollout.md."
)
app.add_typer(experiments, name="experiment")


@app.command()
def rollout(as_of: Moment = None) -> None:
    """Judge the challenger and take its next step if due: advance, promote or withdraw it."""
    from pipelines.release import rollout_controller

    settings, moment = home_at_moment(as_of)
    step = rollout_controller.control_rollout(settings, moment, live=as_of is None)
    typer.echo(f"As of {moment:%Y-%m-%d %H:%M} UTC. {step['told']}")


@experiments.command()
def start(
    version: Annotated[str, typer.Option(help="The challenger.")],
    effect: Annotated[
        float, typer.Option(help="Smallest difference that matters, per 1,000 cases.")
    ],
    days: Annotated[int, typer.Option(help="Planned length, in days of decisions.")],
    by: DecidedBy,
    percent: Annotated[float, typer.Option(help="Percentage of the keys it answers.")] = 50.0,
    metric: Annotated[str, typer.Option(help="cost or brier.")] = "cost",
    as_of: Moment = None,
    reason: Reason = "an experiment",
) -> None:
    """Give a version some of the keys until a planned end; print whether that is long enough."""
    from pipelines.release import experiment

    settings, moment = home_at_moment(as_of)
    plan = experiment.start_experiment(
        settings, version, percent=percent, metric=metric, effect=effect, days=days,
        as_of=moment, by=by, why=reason,
    )  # fmt: skip
    typer.echo(f"{experiment.describe_plan(plan)}\nNext: `mlops experiment status`.")


@experiments.command()
def status(as_of: Moment = None) -> None:
    """Show the result; before the planned end, say that it is too early."""
    from pipelines.release import experiment

    plan, verdict = experiment.experiment_status(*home_at_moment(as_of))
    typer.echo(f"{experiment.describe_plan(plan)}\nVerdict: {verdict.told}.")


@experiments.command()
def stop(
    by: DecidedBy,
    as_of: Moment = None,
    reason: Annotated[str, typer.Option(help="Why now; recorded with the change.")] = "",
) -> None:
    """End the experiment: withdraw the version and record the conclusion."""
    from pipelines.release import experiment

    plan, verdict = experiment.stop_experiment(*home_at_moment(as_of), by=by, why=reason)
    typer.echo(f"The champion is alone. Verdict on version {plan.version}: {verdict.told}.")
