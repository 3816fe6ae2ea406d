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
from pathlib import Path

import psycopg

from pipelines.runtime import schema_revisions
from pipelines.runtime.prefect_commands import prefect_retention_environment
from settings import LoopError, Settings

TOOL_DATABASES = {  # where a tool is told of its database, and has its migrations
    "mlflow": ("MLFLOW_BACKEND_STORE_URI", schema_revisions.MLFLOW_MIGRATIONS),
    "prefect": (
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        f"{schema_revisions.PREFECT_MIGRATIONS}/postgresql",
    ),
}
RESTORE_MARK = Path("/artefacts/.restoring")  # pipelines/stack/restore.py
STACK_RECOVERY_HINT = (
    "Start the newer image again, or restore a backup from before: make restore FROM=..."
)


def current_revisions(url: str) -> set[str]:
    """The revisions that the database is at; none if it is empty."""
    libpq = re.sub(r"^postgresql\+\w+:", "postgresql:", url)
    with psycopg.connect(libpq, connect_timeout=10) as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return set()
        found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return {str(revision) for (revision,) in found}


def prepare_database(tool: str) -> None:
    """Brings the tool's database up to date, if that is not left to its server."""
    variable, below = TOOL_DATABASES[tool]
    known, newest = schema_revisions.known_revisions(tool, below)
    try:
        found = current_revisions(os.environ[variable])
    except psycopg.Error as error:
        raise LoopError(f"The database of {tool} can't be asked for its schema: {error}") from error
    schema_revisions.require_known_revisions(tool, found, known, STACK_RECOVERY_HINT)
    if tool == "mlflow" and found != newest:
        print(f"Migrating the database of mlflow to {', '.join(sorted(newest))} ...", flush=True)
        from mlflow.db import commands

        # Not by the command line: every list of processes would show the password.
        commands(["upgrade", os.environ[variable]], standalone_mode=False)


def main() -> None:
    tool = sys.argv[1]
    try:
        if tool == "mlflow" and RESTORE_MARK.exists():
            raise LoopError(
                "A restore broke off, and the stack is not whole. Run it again: "
                "make restore FROM=... FORCE=1"
            )
        prepare_database(tool)
        if tool == "prefect":
            os.environ.update(prefect_retention_environment(Settings()))
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    os.execvp(tool, sys.argv[1:])


if __name__ == "__main__":
    main()
