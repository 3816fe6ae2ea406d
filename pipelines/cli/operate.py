"""The commands of operation: releases, schedules, the log, alerts, and data to be had back."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.app import AsOf, app, home_settings, report_errors


@app.command()
def compact() -> None:
    """Turn what is closed of the prediction log into Parquet; nothing is lost on the way."""
    with report_errors():
        from serving.prediction_log import compaction

        settings = home_settings()
        done = compaction.compact_log(settings.predictions)
        typer.echo(
            f"{done['segments']} segments in {settings.predictions} became {done['files']} files "
            f"of {done['records']:,} records; left out: {done['duplicates']} logged again, "
            f"{done['torn_lines']} torn lines."
        )


@app.command()
def clean(as_of: AsOf = None) -> None:
    """Remove what has passed its age: reports, results of flows, predictions."""
    with report_errors():
        from datetime import UTC, datetime

        from pipelines.runtime import clock, retention
        from pipelines.runtime.stage_command import parse_time

        settings = home_settings()
        world = parse_time(as_of) if as_of else clock.now(settings)
        done = retention.remove_expired(settings, world, datetime.now(UTC))
        typer.echo(
            f"Removed: {done['reports']:,} reports, {done['results']:,} results of flows, "
            f"{done['predictions']:,} predictions. Ages: `retention` and `monitoring.keep_days` in "
            "usecase/params.yaml. Prefect's server removes old runs by itself."
        )
        if done["open"]:
            typer.echo(f"{done['open']} segments of the log are written to still, and were left.")


@app.command()
def deploy(
    schedules: Annotated[bool, typer.Option(help="Run the flows by their cron, too.")] = True,
) -> None:
    """Serve the flows as deployments against the Prefect server, until Ctrl-C."""
    with report_errors():
        from pipelines.flows.deployments import serve_flows

        serve_flows(home_settings(), schedules_active=schedules)


Version = Annotated[str, typer.Argument(help="Number of the version in the registry.")]


@app.command()
def stage(version: Version) -> None:
    """Put a version into staging, where `mlops smoke` tries it."""
    with report_errors():
        from pipelines.release import staging_checks

        served = staging_checks.put_in_staging(home_settings(), version)
        typer.echo(f"Staging is to serve version {served.version}. Next: `mlops smoke`.")


@app.command()
def smoke() -> None:
    """Ask staging about real cases; exit code 1 if an answer is not what it should be."""
    with report_errors():
        from pipelines.release import staging_checks

        typer.echo("Asking staging ...")
        found = staging_checks.run_smoke_test(home_settings())
        typer.echo(
            f"Version {found['version']} answered {found['asked']} cases rightly. "
            f"Next: `mlops promote {found['version']}`."
        )


@app.command()
def worker() -> None:
    """Register the deployments with Prefect's server, and run what is due, until Ctrl-C."""
    with report_errors():
        from pipelines.flows.deployments import run_worker

        run_worker(home_settings())


@app.command()
def watch(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="MLOPS_WATCH_PORT, or 9108.")] = None,
) -> None:
    """Metrics of all parts and of the loop, and Alertmanager's webhook, until Ctrl-C."""
    with report_errors():
        from pipelines.operations.watch import serve_watch
        from pipelines.runtime.exclusive import require_port_free

        settings = home_settings()
        port = port or settings.watch_port
        require_port_free(port, "mlops watch", "MLOPS_WATCH_PORT")
        typer.echo(f"Watching; metrics: http://{host}:{port}/metrics")
        serve_watch(settings, host, port)


@app.command()
def alerts() -> None:
    """The alerts that were recorded, the newest first."""
    with report_errors():
        from pipelines.cli import status

        status.print_alerts(home_settings())


@app.command()
def restore(
    md5: Annotated[str, typer.Argument(help="As recorded on the version: `dvc_md5_training`.")],
    target: Annotated[str, typer.Argument(help="Where to write it; must not exist.")],
) -> None:
    """Get back the exact data that a model version was trained on."""
    with report_errors():
        from pathlib import Path

        from pipelines.training import workspace

        workspace.restore_output(home_settings(), md5, Path(target))
        typer.echo(f"Restored to {target}.")
