"""Options, settings and error reports that the commands of `mlops` share.

Modules of this room import nothing heavy at the top, so that `mlops --help` answers at once.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from datetime import datetime

    from settings import Settings


ROOT = Path(__file__).resolve().parents[2]
# Retries and seconds of a request to MLflow, while a person waits.
WAIT_TO_CHANGE = ("1", "10")
WAIT_TO_READ = ("0", "5")


class LoopGroup(TyperGroup):
    """Commands that print a known error as one message and exit with the error's code.

    They end their children on SIGINT, SIGTERM and SIGHUP, and print one line.
    """

    def invoke(self, ctx: Any) -> Any:
        require_own_modules()
        from pipelines.runtime import interrupts
        from serving import remedies
        from settings import LoopError

        try:
            with interrupts.ended_by_signals("Run the same command to continue."):
                return super().invoke(ctx)
        except LoopError as error:
            code = f" [{error.code}]" if error.code else ""
            typer.secho(f"error{code}: {error}", fg=typer.colors.RED, err=True)
            if command := remedies.remedy_command(error.code):
                typer.echo(f"remedy: {command}", err=True)
            raise typer.Exit(error.exit_code) from error


def require_own_modules() -> None:
    """Exit with code 2 if another folder's module would be imported in place of one of ours."""
    for name in (
        "settings", "features", "serving", "monitoring", "contract", "parameters", "usecases",
    ):  # fmt: skip
        found = find_spec(name)
        place = Path(module_from_spec(found).__file__ or "") if found else Path()
        if ROOT not in place.resolve().parents:
            typer.secho(
                f"error: `{name}` would be imported from {place}, not from {ROOT}. PYTHONPATH "
                "names a folder with a module of the same name. Unset PYTHONPATH for this command.",
                fg=typer.colors.RED, err=True,
            )  # fmt: skip
            raise typer.Exit(2)


def deciding_user() -> str:
    """Return the name of the user who runs the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container the user may have no name
        return f"uid {os.getuid()}"


AsOf = Annotated[
    str | None,
    typer.Option(help="Work as of this day or UTC time; default: as_of in params.yaml."),
]
Moment = Annotated[
    str | None,
    typer.Option(help="Work as of this day or UTC time; default: the clock of the data's world."),
]
Version = Annotated[str, typer.Argument(help="Version number in the registry.")]
Reason = Annotated[str, typer.Option(help="Why; recorded with the change.")]
By = Annotated[str, typer.Option(help="Who decides; recorded with the change.")]
DecidedBy = Annotated[
    str,
    typer.Option(
        default_factory=deciding_user, show_default="the name of the user",
        help="Who decides; recorded with the change.",
    ),
]  # fmt: skip


def echo_lines(lines: Iterable[str]) -> None:
    typer.echo("\n".join(lines))


def home_settings(*, upgrade: bool = True) -> Settings:
    """Return the settings, after an upgrade of the home's state where it is older.

    A database that can't be read is only reported: what needs none, such as the kill switch, works.
    """
    import settings
    from pipelines.runtime.upgrade import upgrade_home
    from serving.release import keys

    loaded = settings.load_settings()
    try:
        if upgrade:
            upgrade_home(loaded)
    except settings.UnreachableError as error:
        typer.secho(f"warning: {error}", fg=typer.colors.YELLOW, err=True)
    if upgrade and keys.has_no_keys(loaded) and loaded.release_file.exists():
        _sign_older_release(loaded)
    return loaded


def _sign_older_release(settings: Settings) -> None:
    """Sign a release from before signatures; where that is refused, the command goes on."""
    from pipelines.release.audit import key_changes
    from settings import LoopError

    try:
        key_changes.adopt_older_release(settings)
    except LoopError as error:
        typer.secho(
            f"The release is from before signatures and is not signed: {error} The service does "
            "not follow it. If it is the right one: `mlops repair --adopt --reason …`.",
            fg=typer.colors.YELLOW, err=True,
        )  # fmt: skip
    else:
        done = "The release is from before signatures. Its record was verified and is signed."
        typer.echo(done, err=True)


def interactive_settings(*, upgrade: bool = True, changes: bool = True) -> Settings:
    """Return the settings, with short MLflow timeouts: a person waits seconds, a flow may wait.

    A command that only reads (`changes=False`) gives up sooner.
    """
    retries, seconds = WAIT_TO_CHANGE if changes else WAIT_TO_READ
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", seconds)
    return home_settings(upgrade=upgrade)


def home_as_of(as_of: str | None) -> tuple[Settings, datetime]:
    """Return the settings, and the time given or the `as_of` of params.yaml."""
    settings = home_settings()
    from pipelines.runtime.stage_command import parse_time

    return settings, parse_time(as_of if as_of is not None else settings.params().get("as_of"))


def home_at_moment(moment: str | None) -> tuple[Settings, datetime]:
    """Return the settings as `interactive_settings`, and the time given or the world's time.

    The clock of the data's world is what a scheduled run reads, too.
    """
    settings = interactive_settings()
    from pipelines.runtime import clock
    from pipelines.runtime.stage_command import parse_time

    return settings, parse_time(moment) if moment else clock.now(settings)
