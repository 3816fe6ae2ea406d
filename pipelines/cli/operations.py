"""Commands that monitor the champion and the parts, run the flows by schedule, and clean up."""

from typing import Annotated

import typer

from pipelines.cli.common import AsOf, Moment, echo_lines, home_as_of, home_at_moment, home_settings

app = typer.Typer()
schedules = typer.Typer()


@app.command()
def monitor(as_of: AsOf = None) -> None:
    """Join labels to the log, measure performance and drift, decide on retraining."""
    from pipelines.retraining.monitor import monitor_champion

    settings, moment = home_as_of(as_of)
    typer.echo("Measuring ...")
    decision = monitor_champion(settings, moment)
    typer.echo(f"Retrain: {'yes' if decision['retrain'] else 'no'}. {decision['reason']}")
    typer.echo(f"Reports: {settings.state / 'reports'}. Next: `mlops status`.")


@app.command()
def watch(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port; default: MLOPS_WATCH_PORT, or 9108.")
    ] = None,
) -> None:
    """Serve metrics of the parts and of the loop, and Alertmanager's webhook, until Ctrl-C."""
    from pipelines.operations.watch import serve_watch
    from pipelines.runtime.exclusive import require_port_free

    settings = home_settings()
    port = port or settings.watch_port
    require_port_free(port, "mlops watch", "MLOPS_WATCH_PORT")
    typer.echo(f"Serving metrics on http://{host}:{port}/metrics")
    serve_watch(settings, host, port)


@app.command()
def alerts() -> None:
    """List the recorded alerts, the newest first."""
    from pipelines.cli.status import alert_lines

    echo_lines(alert_lines(home_settings()))


@schedules.command()
def deploy(
    schedules: Annotated[bool, typer.Option(help="Activate the flows' cron schedules.")] = True,
) -> None:
    """Serve the flows as deployments of the Prefect server, until Ctrl-C."""
    from pipelines.flows.deployments import serve_flows

    serve_flows(home_settings(), schedules_active=schedules)


@schedules.command()
def worker() -> None:
    """Register the deployments with the Prefect server and run due flows, until Ctrl-C."""
    from pipelines.flows.deployments import run_worker

    run_worker(home_settings())


@schedules.command()
def clean(as_of: Moment = None) -> None:
    """Remove expired reports, flow results and predictions."""
    from datetime import UTC, datetime

    from pipelines.runtime import retention

    settings, world_time = home_at_moment(as_of)
    removed = retention.remove_expired(settings, world_time, datetime.now(UTC))
    typer.echo(
        f"Removed reports: {removed['reports']:,}, flow results: {removed['results']:,}, "
        f"predictions: {removed['predictions']:,}. Ages: `retention` and "
        "`monitoring.keep_days` in params.yaml. Prefect's server removes old runs."
    )
    if removed["open"]:
        typer.echo(f"Log segments still written to, not cleaned: {removed['open']}")
