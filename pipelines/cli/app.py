"""What do all commands of `mlops` share: the app, its options, how an error is told."""

from __future__ import annotations

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

Version = Annotated[str, typer.Argument(help="Number of the version in the registry.")]
Reason = Annotated[str, typer.Option(help="Why; it goes on the record.")]
By = Annotated[str, typer.Option(help="Who decides; it goes on the record.")]


@contextmanager
def report_errors() -> Iterator[None]:
    """A known error is one message and an exit code, without a traceback."""
    from settings import LoopError

    try:
        yield
    except LoopError as error:
        code = f" [{error.code}]" if error.code else ""
        typer.secho(f"error{code}: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(error.exit_code) from error


def home_settings() -> Settings:
    """The settings; the state of the home is brought up to date first, where it is older."""
    from pydantic import ValidationError

    import settings
    from pipelines.runtime import upgrade
    from settings import UserError

    try:
        found = settings.load_settings()
    except ValidationError as error:
        told = "; ".join(
            f"MLOPS_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()
        )
        raise UserError(f"A setting in the environment is wrong: {told}.") from error
    upgrade.upgrade_home(found)
    return found


def parse_as_of(settings: Settings, as_of: str | None) -> datetime:
    from pipelines.runtime.stage_command import parse_time

    return parse_time(as_of if as_of is not None else settings.params().get("as_of"))


def deciding_user(by: str | None) -> str:
    """The name given, or the one of whoever runs this."""
    import getpass

    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container the user may have no name
        import os

        return f"uid {os.getuid()}"


def interactive_settings() -> Settings:
    """The settings; a person is told in seconds that MLflow is away, a flow may wait longer."""
    import os

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return home_settings()
