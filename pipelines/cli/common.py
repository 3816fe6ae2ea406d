"""Options, settings and error reports that the commands of `mlops` share.

Modules of this room import nothing heavy at the top, so that `mlops --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from settings import Settings

AsOf = Annotated[
    str | None,
    typer.Option(help="Work as of this day or UTC time; default: as_of in usecase/params.yaml."),
]
Moment = Annotated[
    str | None,
    typer.Option(help="Work as of this day or UTC time; default: the clock of the data's world."),
]
Version = Annotated[str, typer.Argument(help="Version number in the registry.")]
Reason = Annotated[str, typer.Option(help="Why; recorded with the change.")]
By = Annotated[str, typer.Option(help="Who decides; recorded with the change.")]
DecidedBy = Annotated[
    str | None, typer.Option(help="Who decides; recorded. Default: the name of the user.")
]


@contextmanager
def report_errors() -> Iterator[None]:
    """Print a known error as one message, without a traceback, and exit with its code."""
    from settings import LoopError

    try:
        yield
    except LoopError as error:
        code = f" [{error.code}]" if error.code else ""
        typer.secho(f"error{code}: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(error.exit_code) from error


def home_settings() -> Settings:
    """Return the settings, after an upgrade of the home's state where it is older."""
    from pydantic import ValidationError

    import settings
    from pipelines.runtime import upgrade
    from settings import UserError

    try:
        loaded = settings.load_settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"MLOPS_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()
        )
        raise UserError(f"An environment variable has a wrong value. {wrong}.") from error
    upgrade.upgrade_home(loaded)
    return loaded


def interactive_settings() -> Settings:
    """Return the settings, with short MLflow timeouts: a person waits seconds, a flow may wait."""
    import os

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return home_settings()


def parse_as_of(settings: Settings, as_of: str | None) -> datetime:
    """Return the time given, or the `as_of` of params.yaml."""
    from pipelines.runtime.stage_command import parse_time

    return parse_time(as_of if as_of is not None else settings.params().get("as_of"))


def parse_moment(settings: Settings, as_of: str | None) -> datetime:
    """Return the time given, or the time of the world's clock, as a scheduled run does."""
    from pipelines.runtime import clock

    return parse_as_of(settings, as_of) if as_of else clock.now(settings)


def deciding_user(by: str | None) -> str:
    """Return the name given, or the name of the user who runs the command."""
    import getpass

    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container the user may have no name
        import os

        return f"uid {os.getuid()}"
