"""The commands of release: who serves, who is beside, who may, and what the record says."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.cli.app import Reason, Version, app, patient_no_more, told_plainly, who

Me = Annotated[str | None, typer.Option(help="Who decides; the user's name if not given.")]
Again = Annotated[bool, typer.Option(help="Though it was rolled back or withdrawn before.")]


@app.command()
def promote(
    version: Annotated[str | None, typer.Argument(help="What is in staging, if not given.")] = None,
    reason: Reason = "by hand",
    by: Me = None,
    again: Again = False,
) -> None:
    """Release a registered version to production, after staging where there is one."""
    with told_plainly():
        from pipelines.release import promotion, staging_checks

        settings = patient_no_more()
        version = version or staging_checks.staged_model(settings).version
        done = promotion.promote(settings, version, why=reason, by=who(by), again=again)
        typer.echo(f"Version {version} is champion, in place of {done['before'] or 'none'}.")


@app.command()
def challenge(
    version: Version,
    reason: Reason,
    canary: Annotated[float, typer.Option(help="Percentage of the keys; 0 is the shadow.")] = 0.0,
    by: Me = None,
    again: Again = False,
) -> None:
    """Put a version beside the champion: in its shadow, or as a canary."""
    with told_plainly():
        from pipelines.release import promotion
        from pipelines.release.audit.release_document import recorded_arms
        from pipelines.release.audit.trail import describe_arms

        stage: Any = "canary" if canary else "shadow"
        state = promotion.challenge(
            patient_no_more(), version, stage, canary, why=reason, by=who(by), again=again
        )
        typer.echo(
            f"Released: {describe_arms(recorded_arms(state))} (generation {state.generation})."
        )


@app.command()
def withdraw(
    reason: Reason,
    by: Me = None,
    bar: Annotated[bool, typer.Option(help="It may not come back by itself.")] = True,
) -> None:
    """Take the challenger back: the champion alone answers."""
    with told_plainly():
        from pipelines.release import promotion

        state = promotion.withdraw(patient_no_more(), why=reason, by=who(by), bar=bar)
        typer.echo(f"The champion is alone (generation {state.generation}).")


@app.command()
def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="A champion of before; the last, if none.")] = None,
    by: Me = None,
) -> None:
    """Make a champion of before the champion; services take it up within a second."""
    with told_plainly():
        from pipelines.release import rollback as back

        done = back.rollback(patient_no_more(), to, why=reason, by=who(by))
        if done["version"] == done["before"]:
            typer.echo(f"Version {done['version']} is champion already.")
        else:
            typer.echo(f"Version {done['version']} is champion, in place of {done['before']}.")


@app.command()
def freeze(reason: Reason, by: Me = None) -> None:
    """The kill switch: the champion alone, and no release until `mlops unfreeze`."""
    with told_plainly():
        from pipelines.release import rollback as back
        from settings import UnreachableError

        settings = patient_no_more()
        try:
            back.freeze(settings, why=reason, by=who(by))
        except UnreachableError as error:
            back.freeze_unrecorded(settings)
            raise UnreachableError(
                f"The services are frozen, and that is on no record yet. {error} When it is back: "
                f"`mlops repair --by {who(by)} --reason '{reason}'`."
            ) from error
        typer.echo("Frozen: the champion alone answers, and nothing is released.")


@app.command()
def unfreeze(reason: Reason, by: Me = None) -> None:
    """Lift the freeze."""
    with told_plainly():
        from pipelines.release import rollback as back

        back.unfreeze(patient_no_more(), why=reason, by=who(by))
        typer.echo("Releases are possible again.")
