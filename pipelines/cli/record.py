"""The commands of the record: who approved what, what was changed, why an answer was so."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.app import By, Reason, Version, app, interactive_settings, report_errors


@app.command()
def approve(
    version: Version,
    by: By,
    reason: Reason,
    days: Annotated[float | None, typer.Option(help="release.approval_days if not given.")] = None,
    digest: Annotated[str | None, typer.Option(help="Of the files that you looked at.")] = None,
) -> None:
    """Approve a version's files for some days; release.policy manual lets nothing move without."""
    with report_errors():
        from pipelines.release import approvals

        approvals.approve(
            interactive_settings(), version, by=by, why=reason, days=days, digest=digest
        )
        typer.echo(f"Version {version} is approved by {by}.")


@app.command()
def reject(version: Version, by: By, reason: Reason) -> None:
    """End a version's approval, or say that it gets none."""
    with report_errors():
        from pipelines.release import approvals

        approvals.reject(interactive_settings(), version, by=by, why=reason)
        typer.echo(f"Version {version} is rejected by {by}.")


@app.command()
def override(
    version: Version,
    gate: Annotated[
        str, typer.Option(help="approval, errors, slow, scores, cost or time (docs/rollout.md).")
    ],
    until: Annotated[str, typer.Option(help="Day or UTC time at which it ends.")],
    by: By,
    reason: Reason,
) -> None:
    """Let a version pass a guard that stops it, until a day; shown wherever the version is."""
    with report_errors():
        from pipelines.release import approvals
        from pipelines.runtime.stage_command import parse_time

        ends = parse_time(until, "--until")
        approvals.override(
            interactive_settings(), version, gate=gate, until=ends, by=by, why=reason
        )
        typer.echo(f"Version {version} may pass '{gate}' until {ends:%Y-%m-%d %H:%M} UTC.")


@app.command()
def history(
    at: Annotated[str | None, typer.Option(help="Who answered at this day or UTC time?")] = None,
    verify: Annotated[bool, typer.Option(help="Is the record whole? Exit code 1 if not.")] = False,
    holds: Annotated[str | None, typer.Option(help="Digest noted elsewhere, to be found.")] = None,
) -> None:
    """Every change of the release: who, when, from, to, why."""
    with report_errors():
        from pipelines.cli import release_history
        from pipelines.runtime.stage_command import parse_time

        settings = interactive_settings()
        if verify or holds:
            if not release_history.print_verification(settings, holds):
                raise typer.Exit(1)
        elif at is not None:
            release_history.print_traffic_shares(settings, parse_time(at, "--at"))
        else:
            release_history.print_history(settings)


@app.command()
def why(request_id: Annotated[str, typer.Argument(help="X-Request-Id of the answer.")]) -> None:
    """From one prediction to its features, version, data, gates and approval."""
    with report_errors():
        from pipelines.release.audit.prediction_lineage import explain_prediction

        for title, fields in explain_prediction(interactive_settings(), request_id).items():
            typer.echo(f"{title}:")
            for name, value in fields.items():
                typer.echo(f"  {name}: {value}")


@app.command()
def repair(reason: Reason, by: By) -> None:
    """Make the registry's release document anew, from what is served, when it is nonsense."""
    with report_errors():
        from pipelines.release.audit import repair as repairs

        state = repairs.repair_release_document(interactive_settings(), why=reason, by=by)
        typer.echo(f"The release document is generation {state.generation}, as it is served.")
