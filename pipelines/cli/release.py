"""Commands that put a version into staging, shadow, canary or production, judge it, and undo."""

from typing import Annotated

import typer

from pipelines.cli.common import (
    DecidedBy,
    Moment,
    Reason,
    Version,
    home_at_moment,
    home_settings,
    interactive_settings,
)  # fmt: skip

app = typer.Typer()
experiments = typer.Typer(
    no_args_is_help=True, help="Compare two versions by a plan: docs/rollout.md."
)
app.add_typer(experiments, name="experiment")

AllowReturn = Annotated[
    bool, typer.Option(help="Allow a version that was rolled back or withdrawn before.")
]


@app.command()
def stage(version: Version) -> None:
    """Put a version into staging, where `mlops smoke` tests it."""
    from pipelines.release import staging_checks

    staged = staging_checks.put_in_staging(home_settings(), version)
    typer.echo(f"Version {staged.version} is released to staging. Next: `mlops smoke`.")


@app.command()
def smoke() -> None:
    """Send real cases to staging and compare the answers; exit code 1 if one is wrong."""
    from pipelines.release import staging_checks

    typer.echo("Testing staging ...")
    result = staging_checks.run_smoke_test(home_settings())
    typer.echo(
        f"Version {result['version']} answered {result['asked']} cases correctly. "
        f"Next: `mlops promote {result['version']}`."
    )


@app.command()
def promote(
    by: DecidedBy,
    version: Annotated[
        str | None, typer.Argument(help="Version number; default: the version in staging.")
    ] = None,
    reason: Reason = "by hand",
    again: AllowReturn = False,
) -> None:
    """Make a registered version the champion, after staging where there is one."""
    from pipelines.release import promotion, staging_checks

    settings = interactive_settings()
    version = version or staging_checks.staged_model(settings).version
    done = promotion.promote(settings, version, why=reason, by=by, again=again)
    typer.echo(f"Version {version} is champion, in place of {done['before'] or 'none'}.")


@app.command()
def challenge(
    version: Version,
    reason: Reason,
    by: DecidedBy,
    canary: Annotated[float, typer.Option(help="Percentage of the keys; 0 is a shadow.")] = 0.0,
    again: AllowReturn = False,
) -> None:
    """Make a version the challenger: as a shadow, or as a canary."""
    from pipelines.release import promotion
    from pipelines.release.audit import release_document, trail

    state = promotion.challenge(
        interactive_settings(), version, "canary" if canary else "shadow", canary, why=reason,
        by=by, again=again,
    )  # fmt: skip
    arms = trail.describe_arms(release_document.recorded_arms(state))
    typer.echo(f"Released: {arms} (generation {state.generation}).")


@app.command()
def withdraw(
    reason: Reason,
    by: DecidedBy,
    bar: Annotated[bool, typer.Option(help="Bar its automatic return.")] = True,
) -> None:
    """Withdraw the challenger; the champion alone answers."""
    from pipelines.release import promotion

    state = promotion.withdraw(interactive_settings(), why=reason, by=by, bar=bar)
    typer.echo(f"The champion is alone (generation {state.generation}).")


@app.command()
def rollback(
    reason: Reason,
    by: DecidedBy,
    to: Annotated[
        str | None, typer.Option(help="A former champion; default: the previous one.")
    ] = None,
) -> None:
    """Make a former champion the champion again; services follow within a second."""
    from pipelines.release import rollback as rollbacks

    done = rollbacks.rollback(interactive_settings(), to, why=reason, by=by)
    same = done["version"] == done["before"]
    place = " already" if same else f", in place of {done['before']}"
    typer.echo(f"Version {done['version']} is champion{place}.")


@app.command()
def freeze(reason: Reason, by: DecidedBy) -> None:
    """Stop all releases until `mlops unfreeze`, and withdraw the challenger (the kill switch)."""
    from pipelines.release import rollback as rollbacks
    from settings import UnreachableError

    settings = interactive_settings()
    try:
        rollbacks.freeze(settings, why=reason, by=by)
    except UnreachableError as error:
        rollbacks.freeze_unrecorded(settings)
        raise UnreachableError(
            f"The services are frozen, but the freeze is not recorded yet. {error} When the "
            f"registry is back, run `mlops repair --by {by} --reason '{reason}'`."
        ) from error
    typer.echo("Frozen: the champion alone answers, and nothing is released.")


@app.command()
def unfreeze(reason: Reason, by: DecidedBy) -> None:
    """Allow releases again."""
    from pipelines.release import rollback as rollbacks

    rollbacks.unfreeze(interactive_settings(), why=reason, by=by)
    typer.echo("Releases are possible again.")


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
