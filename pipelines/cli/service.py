"""Commands that run the service, call it, package it, and keep its prediction log."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.common import AsOf, home_as_of, home_settings

app = typer.Typer()
log_app = typer.Typer(no_args_is_help=True, help="Remove predictions from the log.")
app.add_typer(log_app, name="log")


@app.command()
def serve() -> None:
    """Run the prediction service in the foreground, until Ctrl-C."""
    import os

    from pipelines.runtime.exclusive import require_port_free
    from serving.command import require_startable, serve_command, serve_environment

    settings = home_settings()
    require_startable(settings)
    require_port_free(settings.service_port, "The service", "MLOPS_SERVICE_PORT")
    url = f"http://{settings.service_host}:{settings.service_port}"
    typer.echo(f"Serving on {url}; its API: {url}/docs")
    command = serve_command(settings)
    os.execve(command[0], command, {**os.environ, **serve_environment(settings)})


@app.command()
def predict(
    case: Annotated[str | None, typer.Argument(help="One case, as JSON.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File of cases, one column per field.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the answers, with --csv.")] = None,
) -> None:
    """Get predictions from the service for one case, or for a CSV file of cases."""
    from serving.http import client
    from settings import UserError

    settings = home_settings()
    if case is not None and csv is None and out is None:
        for name, value in client.post_json(settings, "/predict", case).items():
            typer.echo(f"{name}: {value}")
    elif case is None and csv is not None and out is not None:
        done = 0
        for done in client.predict_csv(settings, csv, out):
            typer.echo(f"\r{done:,} answered", nl=False, err=True)
        typer.echo(f"\r{done:,} answered, in {out}")
    else:
        raise UserError("Give one case as JSON, or both --csv and --out.")


@app.command()
def token(
    role: Annotated[str, typer.Argument(help="predict, feedback or admin.")],
    name: Annotated[str, typer.Argument(help="Name of the client, for logs and limits.")],
) -> None:
    """Create a token: give the first line to the client, add the second to MLOPS_TOKENS_FILE."""
    import secrets
    from hashlib import sha256

    from serving.http.access import parse_tokens

    secret = secrets.token_urlsafe(32)
    line = f"{role} {sha256(secret.encode()).hexdigest()} {name}"
    parse_tokens(line)
    typer.echo(f"token: {secret}\nline:  {line}")


@app.command()
def bento(
    out: Annotated[Path, typer.Argument(help="Archive to write, such as service.bento.")],
) -> None:
    """Package the service with the released version, for machines without a registry."""
    from pipelines.registry.bento import build_bento

    tag = build_bento(home_settings(), out)
    typer.echo(
        f"{tag} is in {out}. To start it: `bentoml import {out}`, then `bentoml serve {tag}`."
    )


@app.command()
def compact() -> None:
    """Convert the closed segments of the prediction log to Parquet, without loss."""
    from serving.prediction_log.compaction import compact_log

    settings = home_settings()
    done = compact_log(settings.use_case, settings.predictions)
    typer.echo(
        f"Compacted in {settings.predictions}: segments {done['segments']}, files "
        f"{done['files']}, records {done['records']:,}. Dropped: duplicates "
        f"{done['duplicates']}, torn lines {done['torn_lines']}."
    )


@log_app.command()
def expire(as_of: AsOf = None) -> None:
    """Remove predictions older than `monitoring.keep_days`."""
    from datetime import timedelta

    from serving.prediction_log import erasure

    settings, moment = home_as_of(as_of)
    before = moment - timedelta(days=settings.params()["monitoring"]["keep_days"])
    removed = erasure.expire_predictions(settings.use_case, settings.predictions, before)
    _report_removal(removed, f"decided before {before:%Y-%m-%d}")


@log_app.command()
def forget(
    column: Annotated[str, typer.Argument(help="`key`, or `request.<field>`.")],
    value: Annotated[str, typer.Argument(help="Value of the entity to forget.")],
) -> None:
    """Remove one entity's predictions for good."""
    from serving.prediction_log import erasure

    settings = home_settings()
    removed = erasure.forget_predictions(settings.use_case, settings.predictions, column, value)
    _report_removal(removed, f"with {column} {value}")


def _report_removal(removed: dict[str, int], which: str) -> None:
    typer.echo(f"Removed predictions {which}: {removed['removed']:,}.")
    if removed["open"]:
        typer.echo(
            f"The service still writes to log segments: {removed['open']}. Run this again in an "
            "hour, when the service has closed them, or stop it first."
        )
