"""Commands that run the flows by schedule, and remove what has expired."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import Moment, home_settings, parse_moment, report_errors

app = typer.Typer()


@app.command()
def deploy(
    schedules: Annotated[bool, typer.Option(help="Activate the flows' cron schedules.")] = True,
) -> None:
    """Serve the flows as deployments of the Prefect server, until Ctrl-C."""
    with report_errors():
        from pipelines.flows.deployments import serve_flows

        serve_flows(home_settings(), schedules_active=schedules)


@app.command()
def worker() -> None:
    """Register the deployments with the Prefect server and run due flows, until Ctrl-C."""
    with report_errors():
        from pipelines.flows.deployments import run_worker

        run_worker(home_settings())


@app.command()
def clean(as_of: Moment = None) -> None:
    """Remove expired reports, flow results and predictions."""
    with report_errors():
        from datetime import UTC, datetime

        from pipelines.runtime import retention

        settings = home_settings()
        world_time = parse_moment(settings, as_of)
        removed = retention.remove_expired(settings, world_time, datetime.now(UTC))
        typer.echo(
            f"Removed reports: {removed['reports']:,}, flow results: {removed['results']:,}, "
            f"predictions: {removed['predictions']:,}. Ages: `retention` and "
            "`monitoring.keep_days` in usecase/params.yaml. Prefect's server removes old runs."
        )
        if removed["open"]:
            typer.echo(f"Log segments still written to, not cleaned: {removed['open']}")
