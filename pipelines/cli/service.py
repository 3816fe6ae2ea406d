"""The commands around the service: ask it, let others in, keep its log no longer than it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.app import AsOf, app, home_settings, parse_as_of, report_errors

log_app = typer.Typer(help="What is kept of the prediction log.", no_args_is_help=True)
app.add_typer(log_app, name="log")


@app.command()
def predict(
    case: Annotated[str | None, typer.Argument(help="One case, as JSON.")] = None,
    csv: Annotated[Path | None, typer.Option(help="A file of cases; a column a field.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the answers go, with --csv.")] = None,
) -> None:
    """Ask the service about one case, or about a CSV file of them."""
    with report_errors():
        from serving.http import client
        from settings import UserError

        settings = home_settings()
        if case is not None and csv is None and out is None:
            for name, value in client.predict_case(settings, case).items():
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
    name: Annotated[str, typer.Argument(help="Of the client, for logs and limits.")],
) -> None:
    """Draw a token: the client gets the first line, MLOPS_TOKENS_FILE the second."""
    with report_errors():
        import secrets
        from hashlib import sha256

        from serving.http.access import parse_tokens

        drawn = secrets.token_urlsafe(32)
        line = f"{role} {sha256(drawn.encode()).hexdigest()} {name}"
        parse_tokens(line)
        typer.echo(f"token: {drawn}\nline:  {line}")


@app.command()
def bento(
    out: Annotated[Path, typer.Argument(help="The archive, such as service.bento.")],
) -> None:
    """Package the service with the released version, for where no registry is in reach."""
    with report_errors():
        from pipelines.registry import bento as package

        tag = package.build_bento(home_settings(), out)
        typer.echo(
            f"{tag} is in {out}. `bentoml import {out}`, then `bentoml serve {tag}` starts it."
        )


@log_app.command()
def expire(as_of: AsOf = None) -> None:
    """Remove predictions older than `monitoring.keep_days`."""
    with report_errors():
        from datetime import timedelta

        from serving.prediction_log import erasure

        settings = home_settings()
        days = settings.params()["monitoring"]["keep_days"]
        before = parse_as_of(settings, as_of) - timedelta(days=days)
        _tell(
            erasure.expire_predictions(settings.predictions, before),
            f"decided before {before:%Y-%m-%d}",
        )


@log_app.command()
def forget(
    column: Annotated[str, typer.Argument(help="`key`, or `request.<field>`.")],
    value: Annotated[str, typer.Argument(help="Of the entity whose predictions go.")],
) -> None:
    """Remove one entity's predictions for good."""
    with report_errors():
        from serving.prediction_log import erasure

        settings = home_settings()
        _tell(
            erasure.forget_predictions(settings.predictions, column, value),
            f"with {column} {value}",
        )


def _tell(done: dict[str, int], which: str) -> None:
    typer.echo(f"{done['removed']:,} predictions {which} are gone.")
    if done["open"]:
        typer.echo(
            f"{done['open']} segments are written to still: run this again in an hour, when the "
            "service has closed them, or stop it first."
        )
