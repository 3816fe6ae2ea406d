"""The commands of the loop: a whole turn, its stages one at a time, and where things stand."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.app import AsOf, app, home_settings, parse_as_of, report_errors


@app.command()
def run() -> None:
    """One full turn on real data: from raw batches to a retrained model in service."""
    with report_errors():
        from pipelines.flows import turn

        turn.run_turn(home_settings())


@app.command()
def ingest(
    as_of: AsOf = None,
    again: Annotated[
        list[str] | None,
        typer.Option(help="FEED/DAY: fetch this stored batch again. May be repeated."),
    ] = None,
) -> None:
    """Fetch and validate the batches that are due; bad rows go to quarantine."""
    with report_errors():
        from pipelines.ingestion.ingest import fetch_due_batches
        from pipelines.ingestion.validate import format_feed_summary, validate_new_batches

        settings = home_settings()
        moment = parse_as_of(settings, as_of)
        typer.echo(f"Fetching what became known before {moment:%Y-%m-%d %H:%M} UTC ...")
        stored = fetch_due_batches(settings, moment, again=again or ())
        typer.echo(f"{len(stored)} new batches. Validating ...")
        for feed, found in validate_new_batches(settings, moment).items():
            typer.echo(f"  {format_feed_summary(feed, found)}")
        typer.echo(f"Next: `mlops features`; quarantine is in {settings.data / 'quarantine'}.")


@app.command()
def features(as_of: AsOf = None) -> None:
    """Build the feature tables and bring the online store up to date."""
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
    """Train candidates, gate them, register and release the winner."""
    with report_errors():
        from pipelines.flows import turn

        settings = home_settings()
        outcome = turn.train_by_hand(settings, parse_as_of(settings, as_of), reason)
        typer.echo(f"{outcome['told']}\nReport: {outcome['report']}\nNext: `mlops serve`.")


@app.command()
def gate(as_of: AsOf = None) -> None:
    """Show what each gate said of the newest training; exit code 1 if no candidate passed."""
    with report_errors():
        from pipelines.cli import status as shown

        settings = home_settings()
        moment = parse_as_of(settings, as_of) if as_of else None
        if not shown.print_gates(settings, moment):
            raise typer.Exit(1)


@app.command()
def serve() -> None:
    """Run the prediction service in the foreground, until Ctrl-C."""
    with report_errors():
        import os

        from pipelines.runtime.exclusive import require_port_free
        from serving.command import serve_command, serve_environment

        settings = home_settings()
        require_port_free(settings.service_port, "The service", "MLOPS_SERVICE_PORT")
        url = f"http://{settings.service_host}:{settings.service_port}"
        typer.echo(f"Serving on {url}; its API: {url}/docs.json")
        command = serve_command(settings)
        os.execve(command[0], command, {**os.environ, **serve_environment(settings)})


@app.command()
def monitor(as_of: AsOf = None) -> None:
    """Join labels to the log, measure performance and drift, decide on retraining."""
    with report_errors():
        from pipelines.retraining.monitor import monitor_champion

        settings = home_settings()
        typer.echo("Measuring ...")
        found = monitor_champion(settings, parse_as_of(settings, as_of))
        typer.echo(f"Retrain: {'yes' if found['retrain'] else 'no'}. {found['reason']}")
        typer.echo(f"Reports: {settings.var / 'reports'}. Next: `mlops status`.")


@app.command()
def status() -> None:
    """What is champion, since when, from which data; last drift, last decision."""
    with report_errors():
        from pipelines.cli import status as shown

        shown.print_status(home_settings())


@app.command()
def doctor() -> None:
    """What is missing or misconfigured, and the command that mends it."""
    with report_errors():
        from pipelines.operations import doctor as checks

        if not checks.print_checks(home_settings()):
            raise typer.Exit(1)


@app.command()
def ui() -> None:
    """Open MLflow, Prefect, Evidently and the data docs, until Ctrl-C."""
    with report_errors():
        from pipelines.operations import ui_servers

        ui_servers.serve_uis(home_settings())
