"""Does this code know the schema of the database that it is to serve? Asked before a server starts.

`python -m pipelines.stack.schema TOOL ARGUMENT...` becomes `TOOL ARGUMENT...`, with TOOL mlflow or
prefect. An older schema is migrated: MLflow's here, Prefect's by its server. One that only a newer
version knows is refused, untouched: MLflow's own words would tell to upgrade it, and Prefect's are
a traceback.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psycopg

from pipelines.commands import retention_environment
from settings import LoopError, Settings

# Where a tool is told of its database, and has a file for each revision of Alembic.
TOOLS = {
    "mlflow": ("MLFLOW_BACKEND_STORE_URI", "store/db_migrations/versions"),
    "prefect": (
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "server/database/_migrations/versions/postgresql",
    ),
}
# By their text: Alembic would import a hundred modules and their packages at every start.
REVISION = re.compile(r"""^revision(?:: str)? = ["'](\w+)["']""", re.MULTILINE)
BEFORE = re.compile(r"^down_revision(?:: [^=]+)? = (.+)$", re.MULTILINE)
MARK = Path("/artefacts/.restoring")  # pipelines/stack/restore.py


def revisions(folder: Path) -> tuple[set[str], set[str]]:
    """All revisions whose files are in `folder`, and the newest: those that no other follows."""
    known, followed = set[str](), set[str]()
    for file in folder.glob("*.py"):
        text = file.read_text()
        known.update(REVISION.findall(text))
        for before in BEFORE.findall(text):
            followed.update(re.findall(r"\w+", before))
    return known, known - followed


def current(url: str) -> set[str]:
    """The revisions that the database is at; none if it is empty."""
    libpq = re.sub(r"^postgresql\+\w+:", "postgresql:", url)
    with psycopg.connect(libpq, connect_timeout=10) as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return set()
        found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return {str(revision) for (revision,) in found}


def require_known(tool: str, found: set[str], known: set[str]) -> None:
    """Raises `LoopError` if the database is at a revision that this version doesn't have."""
    if unknown := found - known:
        raise LoopError(
            f"The database of {tool} has the schema {', '.join(sorted(unknown))}, which {tool} "
            f"{version(tool)} does not know: a newer version has migrated it. Nothing was changed. "
            "Start the newer image again, or restore a backup from before: make restore FROM=..."
        )


def prepare(tool: str) -> None:
    """Brings the tool's database up to date, if that is not left to its server."""
    variable, below = TOOLS[tool]
    spec = find_spec(tool)
    if spec is None or not spec.submodule_search_locations:
        raise LoopError(f"{tool} is not installed.")
    known, newest = revisions(Path(spec.submodule_search_locations[0]) / below)
    try:
        found = current(os.environ[variable])
    except psycopg.Error as error:
        raise LoopError(f"The database of {tool} can't be asked for its schema: {error}") from error
    require_known(tool, found, known)
    if tool == "mlflow" and found != newest:
        print(f"Migrating the database of mlflow to {', '.join(sorted(newest))} ...", flush=True)
        from mlflow.db import commands

        # Not by the command line: every list of processes would show the password.
        commands(["upgrade", os.environ[variable]], standalone_mode=False)


def main() -> None:
    tool = sys.argv[1]
    try:
        if tool == "mlflow" and MARK.exists():
            raise LoopError(
                "A restore broke off, and the stack is not whole. Run it again: "
                "make restore FROM=... FORCE=1"
            )
        prepare(tool)
        if tool == "prefect":
            os.environ.update(retention_environment(Settings()))
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    os.execvp(tool, sys.argv[1:])


if __name__ == "__main__":
    main()
