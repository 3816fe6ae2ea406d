"""Commands that approve versions and read or repair the record of releases."""

from typing import Annotated

import typer

from pipelines.cli.common import By, DecidedBy, Reason, Version, echo_lines, interactive_settings

app = typer.Typer()


@app.command()
def approve(
    version: Version,
    by: By,
    reason: Reason,
    days: Annotated[
        float | None, typer.Option(help="Validity in days; default: release.approval_days.")
    ] = None,
    digest: Annotated[str | None, typer.Option(help="Digest of the files you reviewed.")] = None,
) -> None:
    """Approve a version for some days; release.policy `manual` releases only approved versions."""
    from pipelines.release import approvals

    settings = interactive_settings()
    approvals.approve(settings, version, by=by, why=reason, days=days, digest=digest)
    typer.echo(f"Version {version} is approved by {by}.")


@app.command()
def reject(version: Version, by: By, reason: Reason) -> None:
    """Reject a version; an approval that it has ends."""
    from pipelines.release import approvals

    approvals.reject(interactive_settings(), version, by=by, why=reason)
    typer.echo(f"Version {version} is rejected by {by}.")


@app.command()
def override(
    version: Version,
    gate: Annotated[
        str, typer.Option(help="approval, errors, slow, scores, cost or time (docs/rollout.md).")
    ],
    until: Annotated[str, typer.Option(help="Day or UTC time at which the override ends.")],
    by: By,
    reason: Reason,
) -> None:
    """Let a version pass one guard until a day; `mlops status` shows the override."""
    from pipelines.release import approvals
    from pipelines.runtime.stage_command import parse_time

    ends, settings = parse_time(until, "--until"), interactive_settings()
    approvals.override(settings, version, gate=gate, until=ends, by=by, why=reason)
    typer.echo(f"Version {version} may pass '{gate}' until {ends:%Y-%m-%d %H:%M} UTC.")


@app.command()
def history(
    at: Annotated[
        str | None, typer.Option(help="Show the versions that answered at this day or UTC time.")
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Verify the record; exit code 1 if it is not whole.")
    ] = False,
    holds: Annotated[
        str | None, typer.Option(help="Verify that the record has an entry with this digest.")
    ] = None,
) -> None:
    """List every change of the release: who, when, from, to, why."""
    from pipelines.cli import release_history
    from pipelines.runtime.stage_command import parse_time

    settings = interactive_settings(changes=False)
    if verify or holds:
        whole, lines = release_history.verification_lines(settings, holds)
        echo_lines(lines)
        if not whole:
            raise typer.Exit(1)
    elif at is not None:
        echo_lines(release_history.traffic_lines(settings, parse_time(at, "--at")))
    else:
        echo_lines(release_history.history_lines(settings))


@app.command()
def why(
    identity: Annotated[str, typer.Argument(help="prediction_id or X-Request-Id of the answer.")],
) -> None:
    """Trace one prediction to its features, version, data, gates and approval."""
    from pipelines.release.audit.prediction_lineage import explain_prediction

    for title, fields in explain_prediction(interactive_settings(changes=False), identity).items():
        typer.echo(f"{title}:")
        for name, value in fields.items():
            typer.echo(f"  {name}: {value}")


@app.command()
def repair(
    by: DecidedBy,
    reason: Annotated[str, typer.Option(help="Why; recorded with the change.")] = "repair",
    adopt: Annotated[
        bool,
        typer.Option(help="Sign the present release: once, after an upgrade or a loss of keys."),
    ] = False,
) -> None:
    """Make registry, release file and model files agree again: each from what is still good."""
    from pipelines.release.audit.key_changes import adopt_release
    from pipelines.release.audit.verification import repair_release_document

    change = adopt_release if adopt else repair_release_document
    state = change(interactive_settings(), why=reason, by=by)
    typer.echo(
        "The release document, the services' file and the models agree again, generation "
        f"{state.generation}."
    )


@app.command()
def rotate_key(reason: Reason, by: DecidedBy) -> None:
    """Sign with a new key from now on, and the release at once; earlier signatures stay valid."""
    from pipelines.release.audit import key_changes

    settings = interactive_settings()
    key = key_changes.rotate_key(settings, by=by, why=reason)
    typer.echo(
        f"Signed with the key {key} from now on. Keep a copy of {settings.signing_key_file}."
    )
