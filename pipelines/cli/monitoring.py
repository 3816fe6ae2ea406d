"""Commands that measure the champion, export metrics and list alerts."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import AsOf, home_settings, parse_as_of, report_errors

app = typer.Typer()


@app.command()
def monitor(as_of: AsOf = None) -> None:
    """Join labels to the log, measure performance and drift, decide on retraining."""
    with report_errors():
        from pipelines.retraining.monitor import monitor_champion

        settings = home_settings()
        typer.echo("Measuring ...")
        decision = monitor_champion(settings, parse_as_of(settings, as_of))
        typer.echo(f"Retrain: {'yes' if decision['retrain'] else 'no'}. {decision['reason']}")
        typer.echo(f"Reports: {settings.var / 'reports'}. Next: `mlops status`.")


@app.command()
def watch(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port; default: MLOPS_WATCH_PORT, or 9108.")
    ] = None,
) -> None:
    """Serve metrics of the parts and of the loop, and Alertmanager's webhook, until Ctrl-C."""
    with report_errors():
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
    with report_errors():
        from pipelines.cli.status import print_alerts

        print_alerts(home_settings())
