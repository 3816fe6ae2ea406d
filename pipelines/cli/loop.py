"""Commands on the loop as a whole: a full turn, its status, the health of a home, web pages."""

from __future__ import annotations

import typer

from pipelines.cli.common import home_settings, report_errors

app = typer.Typer()


@app.command()
def run() -> None:
    """Run one full turn on real data: from raw batches to a retrained model in service."""
    with report_errors():
        from pipelines.flows import turn

        turn.run_turn(home_settings())


@app.command()
def status() -> None:
    """Show the champion, its data, the last monitoring decision and the last trainings."""
    with report_errors():
        from pipelines.cli.status import print_status

        print_status(home_settings())


@app.command()
def doctor() -> None:
    """Check the home and name the command that repairs each fault; exit code 1 if one is found."""
    with report_errors():
        from pipelines.cli.status import print_checks

        if not print_checks(home_settings()):
            raise typer.Exit(1)


@app.command()
def ui() -> None:
    """Serve MLflow, Prefect, Evidently, the data docs and the reports, until Ctrl-C."""
    with report_errors():
        from pipelines.operations.ui_servers import serve_uis

        serve_uis(home_settings())
