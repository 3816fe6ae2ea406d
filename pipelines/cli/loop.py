"""Commands on the loop as a whole, and from raw batches to a gated model stage by stage."""

from typing import Annotated

import typer

from pipelines.cli.common import (
    AsOf,
    echo_lines,
    home_as_of,
    home_settings,
    interactive_settings,
)  # fmt: skip

app = typer.Typer()
stages = typer.Typer()


@app.command()
def run() -> None:
    """Run one full turn on real data: from raw batches to a retrained model in service."""
    from pipelines.flows import turn

    turn.run_turn(home_settings())


@app.command()
def status() -> None:
    """Show the champion, its data, the last monitoring decision and the last trainings."""
    from pipelines.cli.status import render_status

    typer.echo(render_status(interactive_settings(changes=False)), nl=False)


@app.command()
def doctor() -> None:
    """Check the home and list the commands that mend it, in order; exit code 1 if one is due."""
    from pipelines.operations.doctor import run_checks, steps_to_take

    # Without an upgrade, which would mend what is checked.
    results = run_checks(interactive_settings(upgrade=False, changes=False))
    for subject, each in results.items():
        mark = typer.style("ok  ", fg="green") if each.ok else typer.style("fail", fg="red")
        code = "" if each.ok else f" [{each.code}]"
        typer.echo(f"{mark}  {subject}{code}: {each.message}")
    if steps := steps_to_take(results):
        typer.echo("To do, in this order (docs/remedies.md explains the codes):")
        echo_lines(f"  {number}. {step}" for number, step in enumerate(steps, 1))
    if not all(each.ok for each in results.values()):
        raise typer.Exit(1)


@app.command()
def ui() -> None:
    """Serve MLflow, Prefect, Evidently, the data docs and the reports, until Ctrl-C."""
    from pipelines.operations.ui_servers import serve_uis

    serve_uis(home_settings())


@stages.command()
def ingest(
    as_of: AsOf = None,
    again: Annotated[
        list[str] | None,
        typer.Option(help="FEED/DAY: fetch this stored batch again. May be repeated."),
    ] = None,
) -> None:
    """Fetch and validate the batches that are due; broken rows go to quarantine."""
    from pipelines.ingestion.ingest import fetch_due_batches
    from pipelines.ingestion.validate import format_feed_summary, validate_new_batches

    settings, moment = home_as_of(as_of)
    typer.echo(f"Fetching batches known before {moment:%Y-%m-%d %H:%M} UTC ...")
    batches = fetch_due_batches(settings, moment, again=again or ())
    typer.echo(f"New batches: {len(batches)}. Validating ...")
    for feed, summary in validate_new_batches(settings, moment).items():
        typer.echo(f"  {format_feed_summary(feed, summary)}")
    typer.echo(f"Quarantine: {settings.data / 'quarantine'}. Next: `mlops features`.")


@stages.command()
def features(as_of: AsOf = None) -> None:
    """Build the feature tables and publish the newest values to the online store."""
    from features.online_publisher import publish_features
    from pipelines.training.build_features import build_feature_tables

    settings, moment = home_as_of(as_of)
    typer.echo("Building feature tables ...")
    for table, days in build_feature_tables(settings, moment).items():
        typer.echo(f"  {table}: {days} new days")
    typer.echo("Publishing to the online store ...")
    publish_features(settings, moment)
    typer.echo("Next: `mlops train`.")


@stages.command()
def train(
    as_of: AsOf = None,
    reason: Annotated[str, typer.Option(help="Why; recorded with the run.")] = "by hand",
) -> None:
    """Train candidates, run the gates, register and release the winner."""
    from pipelines.flows import turn

    outcome = turn.train_by_hand(*home_as_of(as_of), reason)
    typer.echo(f"{outcome['told']}\nReport: {outcome['report']}\nNext: `mlops serve`.")


@stages.command()
def gate(as_of: AsOf = None) -> None:
    """Show the gates' verdicts on the newest training; exit code 1 if no candidate passed."""
    from pipelines.cli.status import print_gates

    settings, moment = home_as_of(as_of) if as_of else (home_settings(), None)
    if not print_gates(settings, moment):
        raise typer.Exit(1)
