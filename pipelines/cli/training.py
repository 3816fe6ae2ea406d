"""Commands from raw batches to a gated model, one stage at a time."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import AsOf, home_settings, parse_as_of, report_errors

app = typer.Typer()


@app.command()
def ingest(
    as_of: AsOf = None,
    again: Annotated[
        list[str] | None,
        typer.Option(help="FEED/DAY: fetch this stored batch again. May be repeated."),
    ] = None,
) -> None:
    """Fetch and validate the batches that are due; broken rows go to quarantine."""
    with report_errors():
        from pipelines.ingestion.ingest import fetch_due_batches
        from pipelines.ingestion.validate import format_feed_summary, validate_new_batches

        settings = home_settings()
        moment = parse_as_of(settings, as_of)
        typer.echo(f"Fetching batches known before {moment:%Y-%m-%d %H:%M} UTC ...")
        batches = fetch_due_batches(settings, moment, again=again or ())
        typer.echo(f"New batches: {len(batches)}. Validating ...")
        for feed, summary in validate_new_batches(settings, moment).items():
            typer.echo(f"  {format_feed_summary(feed, summary)}")
        typer.echo(f"Quarantine: {settings.data / 'quarantine'}. Next: `mlops features`.")


@app.command()
def features(as_of: AsOf = None) -> None:
    """Build the feature tables and publish the newest values to the online store."""
    with report_errors():
        from features.online_publisher import publish_features
        from pipelines.training.build_features import build_feature_tables

        settings = home_settings()
        moment = parse_as_of(settings, as_of)
        typer.echo("Building feature tables ...")
        for table, days in build_feature_tables(settings, moment).items():
            typer.echo(f"  {table}: {days} new days")
        typer.echo("Publishing to the online store ...")
        publish_features(settings, moment)
        typer.echo("Next: `mlops train`.")


@app.command()
def train(
    as_of: AsOf = None,
    reason: Annotated[str, typer.Option(help="Why; recorded with the run.")] = "by hand",
) -> None:
    """Train candidates, run the gates, register and release the winner."""
    with report_errors():
        from pipelines.flows import turn

        settings = home_settings()
        outcome = turn.train_by_hand(settings, parse_as_of(settings, as_of), reason)
        typer.echo(f"{outcome['told']}\nReport: {outcome['report']}\nNext: `mlops serve`.")


@app.command()
def gate(as_of: AsOf = None) -> None:
    """Show the gates' verdicts on the newest training; exit code 1 if no candidate passed."""
    with report_errors():
        from pipelines.cli.status import print_gates

        settings = home_settings()
        moment = parse_as_of(settings, as_of) if as_of else None
        if not print_gates(settings, moment):
            raise typer.Exit(1)
