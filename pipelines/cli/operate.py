"""The commands of operation: releases, schedules, the log, alerts, and data to be had back."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.app import AsOf, app, our_settings, told_plainly


@app.command()
def compact() -> None:
    """Turn what is closed of the prediction log into Parquet; nothing is lost on the way."""
    with told_plainly():
        from serving.prediction_log import compaction

        settings = our_settings()
        done = compaction.compact(settings.predictions)
        typer.echo(
            f"{done['segments']} segments in {settings.predictions} became {done['files']} files "
            f"of {done['records']:,} records; left out: {done['duplicates']} logged again, "
            f"{done['torn_lines']} torn lines."
        )


@app.command()
def clean(as_of: AsOf = None) -> None:
    """Remove what has passed its age: reports, results of flows, predictions."""
    with told_plainly():
        from datetime import UTC, datetime

        from pipelines.runtime import clock, retention
        from pipelines.runtime.stage_command import parse_time

        settings = our_settings()
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
    with told_plainly():
        from pipelines.flows.deployments import deploy as serve_flows

        serve_flows(our_settings(), schedules_active=schedules)


Version = Annotated[str, typer.Argument(help="Number of the version in the registry.")]


@app.command()
def stage(version: Version) -> None:
    """Put a version into staging, where `mlops smoke` tries it."""
    with told_plainly():
        from pipelines.release import staging_checks

        served = staging_checks.put_in_staging(our_settings(), version)
        typer.echo(f"Staging is to serve version {served.version}. Next: `mlops smoke`.")


@app.command()
def smoke() -> None:
    """Ask staging about real cases; exit code 1 if an answer is not what it should be."""
    with told_plainly():
        from pipelines.release import staging_checks

        typer.echo("Asking staging ...")
        found = staging_checks.run_smoke_test(our_settings())
        typer.echo(
            f"Version {found['version']} answered {found['asked']} cases rightly. "
            f"Next: `mlops promote {found['version']}`."
        )


@app.command()
def worker() -> None:
    """Register the deployments with Prefect's server, and run what is due, until Ctrl-C."""
    with told_plainly():
        from pipelines.flows.deployments import work

        work(our_settings())


@app.command()
def watch(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="MLOPS_WATCH_PORT, or 9108.")] = None,
) -> None:
    """Metrics of all parts and of the loop, and Alertmanager's webhook, until Ctrl-C."""
    with told_plainly():
        from pipelines.operations.watch import serve as serve_watch
        from pipelines.runtime.exclusive import require_port_free

        settings = our_settings()
        port = port or settings.watch_port
        require_port_free(port, "mlops watch", "MLOPS_WATCH_PORT")
        typer.echo(f"Watching; metrics: http://{host}:{port}/metrics")
        serve_watch(settings, host, port)


@app.command()
def alerts() -> None:
    """The alerts that were recorded, the newest first."""
    with told_plainly():
        from pipelines.cli import status

        status.alerts(our_settings())


@app.command()
def restore(
    md5: Annotated[str, typer.Argument(help="As recorded on the version: `dvc_md5_training`.")],
    target: Annotated[str, typer.Argument(help="Where to write it; must not exist.")],
) -> None:
    """Get back the exact data that a model version was trained on."""
    with told_plainly():
        from pathlib import Path

        from pipelines.training import workspace

        workspace.restore_output(our_settings(), md5, Path(target))
        typer.echo(f"Restored to {target}.")
