"""The commands of release: who serves, who is beside, who may, and what the record says."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.cli.app import (
    Reason,
    Version,
    app,
    deciding_user,
    interactive_settings,
    report_errors,
)

DecidedBy = Annotated[str | None, typer.Option(help="Who decides; the user's name if not given.")]
AllowReturn = Annotated[bool, typer.Option(help="Though it was rolled back or withdrawn before.")]


@app.command()
def promote(
    version: Annotated[str | None, typer.Argument(help="What is in staging, if not given.")] = None,
    reason: Reason = "by hand",
    by: DecidedBy = None,
    again: AllowReturn = False,
) -> None:
    """Release a registered version to production, after staging where there is one."""
    with report_errors():
        from pipelines.release import promotion, staging_checks

        settings = interactive_settings()
        version = version or staging_checks.staged_model(settings).version
        done = promotion.promote(settings, version, why=reason, by=deciding_user(by), again=again)
        typer.echo(f"Version {version} is champion, in place of {done['before'] or 'none'}.")


@app.command()
def challenge(
    version: Version,
    reason: Reason,
    canary: Annotated[float, typer.Option(help="Percentage of the keys; 0 is the shadow.")] = 0.0,
    by: DecidedBy = None,
    again: AllowReturn = False,
) -> None:
    """Put a version beside the champion: in its shadow, or as a canary."""
    with report_errors():
        from pipelines.release import promotion
        from pipelines.release.audit.release_document import recorded_arms
        from pipelines.release.audit.trail import describe_arms

        stage: Any = "canary" if canary else "shadow"
        state = promotion.challenge(
            interactive_settings(),
            version,
            stage,
            canary,
            why=reason,
            by=deciding_user(by),
            again=again,
        )
        typer.echo(
            f"Released: {describe_arms(recorded_arms(state))} (generation {state.generation})."
        )


@app.command()
def withdraw(
    reason: Reason,
    by: DecidedBy = None,
    bar: Annotated[bool, typer.Option(help="It may not come back by itself.")] = True,
) -> None:
    """Take the challenger back: the champion alone answers."""
    with report_errors():
        from pipelines.release import promotion

        state = promotion.withdraw(
            interactive_settings(), why=reason, by=deciding_user(by), bar=bar
        )
        typer.echo(f"The champion is alone (generation {state.generation}).")


@app.command()
def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="A champion of before; the last, if none.")] = None,
    by: DecidedBy = None,
) -> None:
    """Make a champion of before the champion; services take it up within a second."""
    with report_errors():
        from pipelines.release import rollback as back

        done = back.rollback(interactive_settings(), to, why=reason, by=deciding_user(by))
        if done["version"] == done["before"]:
            typer.echo(f"Version {done['version']} is champion already.")
        else:
            typer.echo(f"Version {done['version']} is champion, in place of {done['before']}.")


@app.command()
def freeze(reason: Reason, by: DecidedBy = None) -> None:
    """The kill switch: the champion alone, and no release until `mlops unfreeze`."""
    with report_errors():
        from pipelines.release import rollback as back
        from settings import UnreachableError

        settings = interactive_settings()
        try:
            back.freeze(settings, why=reason, by=deciding_user(by))
        except UnreachableError as error:
            back.freeze_unrecorded(settings)
            raise UnreachableError(
                f"The services are frozen, and that is on no record yet. {error} When it is back: "
                f"`mlops repair --by {deciding_user(by)} --reason '{reason}'`."
            ) from error
        typer.echo("Frozen: the champion alone answers, and nothing is released.")


@app.command()
def unfreeze(reason: Reason, by: DecidedBy = None) -> None:
    """Lift the freeze."""
    with report_errors():
        from pipelines.release import rollback as back

        back.unfreeze(interactive_settings(), why=reason, by=deciding_user(by))
        typer.echo("Releases are possible again.")
