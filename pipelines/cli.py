"""The command `mlops`: every part of the loop, one by one and as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from settings import Settings

# Nothing else at the top: `mlops --help` answers at once, each command imports what it needs.

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="MLOps Loop: data in, model out, watched, retrained. Start with `mlops run`.",
)  # fmt: skip

AsOf = Annotated[
    str | None,
    typer.Option(help="Day or UTC time as of which to work; usecase/params.yaml's if not given."),
]


@contextmanager
def told_plainly() -> Iterator[None]:
    """A known error is one message and an exit code, without a traceback."""
    from settings import LoopError

    try:
        yield
    except LoopError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(error.exit_code) from error


@app.command()
def run() -> None:
    """One full turn on real data: from raw batches to a retrained model in service."""
    with told_plainly():
        from pipelines import turn

        turn.run(_settings())


@app.command()
def ingest(as_of: AsOf = None) -> None:
    """Fetch and validate the batches that are due; bad rows go to quarantine."""
    with told_plainly():
        from pipelines.ingest import fetch_new
        from pipelines.validate import validate_new

        settings = _settings()
        moment = _moment(settings, as_of)
        typer.echo(f"Fetching what became known before {moment:%Y-%m-%d %H:%M} UTC ...")
        typer.echo(f"{len(fetch_new(settings, moment))} new batches. Validating ...")
        for feed, found in validate_new(settings, moment).items():
            reasons = "; ".join(f"{rule}: {count}" for rule, count in found["reasons"].items())
            typer.echo(
                f"  {feed}: {found['batches']} batches, {found['rows']:,} rows, "
                f"{found['quarantined']} quarantined {f'({reasons})' if reasons else ''}"
            )
        typer.echo(f"Next: `mlops features`; quarantine is in {settings.data / 'quarantine'}.")


@app.command()
def features(as_of: AsOf = None) -> None:
    """Build the feature tables and bring the online store up to date."""
    with told_plainly():
        from features.publish import publish
        from pipelines.build_features import build_new

        settings = _settings()
        moment = _moment(settings, as_of)
        typer.echo("Building feature tables ...")
        for table, days in build_new(settings, moment).items():
            typer.echo(f"  {table}: {days} new days")
        typer.echo("Publishing to the online store ...")
        publish(settings, moment)
        typer.echo("Next: `mlops train`.")


@app.command()
def train(
    as_of: AsOf = None,
    reason: Annotated[str, typer.Option(help="Why; recorded with the run.")] = "by hand",
) -> None:
    """Train candidates, gate them, register and release the winner."""
    with told_plainly():
        from pipelines import turn

        settings = _settings()
        outcome = turn.train(settings, _moment(settings, as_of), reason)
        typer.echo(f"{outcome['told']}\nReport: {outcome['report']}\nNext: `mlops serve`.")


@app.command()
def gate(as_of: AsOf = None) -> None:
    """Show what each gate said of the newest training; exit code 1 if no candidate passed."""
    with told_plainly():
        from pipelines import shown

        settings = _settings()
        moment = _moment(settings, as_of) if as_of else None
        if not shown.gates(settings, moment):
            raise typer.Exit(1)


@app.command()
def serve() -> None:
    """Run the prediction service in the foreground, until Ctrl-C."""
    with told_plainly():
        import os

        from pipelines.exclusive import require_port_free
        from serving.command import serve_command, serve_environment

        settings = _settings()
        require_port_free(settings.service_port, "The service", "MLOPS_SERVICE_PORT")
        url = f"http://{settings.service_host}:{settings.service_port}"
        typer.echo(f"Serving on {url}; its API: {url}/docs.json")
        command = serve_command(settings)
        os.execve(command[0], command, {**os.environ, **serve_environment(settings)})


@app.command()
def monitor(as_of: AsOf = None) -> None:
    """Join labels to the log, measure performance and drift, decide on retraining."""
    with told_plainly():
        from pipelines.monitor import observe

        settings = _settings()
        typer.echo("Measuring ...")
        found = observe(settings, _moment(settings, as_of))
        typer.echo(f"Retrain: {'yes' if found['retrain'] else 'no'}. {found['reason']}")
        typer.echo(f"Reports: {settings.var / 'reports'}. Next: `mlops status`.")


@app.command()
def compact() -> None:
    """Turn what is closed of the prediction log into Parquet; nothing is lost on the way."""
    with told_plainly():
        from serving import compaction

        settings = _settings()
        done = compaction.compact(settings.predictions)
        typer.echo(
            f"{done['segments']} segments in {settings.predictions} became {done['files']} files "
            f"of {done['records']:,} records; left out: {done['duplicates']} logged again, "
            f"{done['torn_lines']} torn lines."
        )


@app.command()
def status() -> None:
    """What is champion, since when, from which data; last drift, last decision."""
    with told_plainly():
        from pipelines import shown

        shown.status(_settings())


@app.command()
def doctor() -> None:
    """What is missing or misconfigured, and the command that mends it."""
    with told_plainly():
        from pipelines import doctor as checks

        if not checks.report(_settings()):
            raise typer.Exit(1)


@app.command()
def ui() -> None:
    """Open MLflow, Prefect, Evidently and the data docs, until Ctrl-C."""
    with told_plainly():
        from pipelines import uis

        uis.serve(_settings())


@app.command()
def deploy(
    schedules: Annotated[bool, typer.Option(help="Run the flows by their cron, too.")] = True,
) -> None:
    """Serve the flows as deployments against the Prefect server, until Ctrl-C."""
    with told_plainly():
        from pipelines.deploy import deploy as serve_flows

        serve_flows(_settings(), schedules_active=schedules)


Version = Annotated[str, typer.Argument(help="Number of the version in the registry.")]


@app.command()
def stage(version: Version) -> None:
    """Put a version into staging, where `mlops smoke` tries it."""
    with told_plainly():
        from pipelines import staging

        served = staging.stage(_settings(), version)
        typer.echo(f"Staging is to serve version {served.version}. Next: `mlops smoke`.")


@app.command()
def smoke() -> None:
    """Ask staging about real cases; exit code 1 if an answer is not what it should be."""
    with told_plainly():
        from pipelines import staging

        typer.echo("Asking staging ...")
        found = staging.smoke(_settings())
        typer.echo(
            f"Version {found['version']} answered {found['asked']} cases rightly. "
            f"Next: `mlops promote {found['version']}`."
        )


@app.command()
def promote(
    version: Annotated[str | None, typer.Argument(help="What is in staging, if not given.")] = None,
) -> None:
    """Release a registered version to production, after staging where there is one."""
    with told_plainly():
        from pipelines import release, staging

        settings = _settings()
        version = version or staging.staged(settings).version
        done = release.promote(settings, version)
        typer.echo(f"Version {version} is champion, in place of {done['before'] or 'none'}.")


@app.command()
def worker() -> None:
    """Register the deployments with Prefect's server, and run what is due, until Ctrl-C."""
    with told_plainly():
        from pipelines.deploy import work

        work(_settings())


@app.command()
def watch(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="MLOPS_WATCH_PORT, or 9108.")] = None,
) -> None:
    """Metrics of all parts and of the loop, and Alertmanager's webhook, until Ctrl-C."""
    with told_plainly():
        from pipelines.exclusive import require_port_free
        from pipelines.watch import serve as serve_watch

        settings = _settings()
        port = port or settings.watch_port
        require_port_free(port, "mlops watch", "MLOPS_WATCH_PORT")
        typer.echo(f"Watching; metrics: http://{host}:{port}/metrics")
        serve_watch(settings, host, port)


@app.command()
def alerts() -> None:
    """The alerts that were recorded, the newest first."""
    with told_plainly():
        from pipelines import shown

        shown.alerts(_settings())


@app.command()
def restore(
    md5: Annotated[str, typer.Argument(help="As recorded on the version: `dvc_md5_training`.")],
    target: Annotated[str, typer.Argument(help="Where to write it; must not exist.")],
) -> None:
    """Get back the exact data that a model version was trained on."""
    with told_plainly():
        from pathlib import Path

        from pipelines import workspace

        workspace.restore(_settings(), md5, Path(target))
        typer.echo(f"Restored to {target}.")


def _settings() -> Settings:
    from pydantic import ValidationError

    import settings
    from settings import UserError

    try:
        return settings.load()
    except ValidationError as error:
        told = "; ".join(
            f"MLOPS_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()
        )
        raise UserError(f"A setting in the environment is wrong: {told}.") from error


def _moment(settings: Settings, as_of: str | None) -> datetime:
    from pipelines.stage import moment

    return moment(as_of if as_of is not None else settings.params().get("as_of"))


if __name__ == "__main__":
    sys.exit(app())
