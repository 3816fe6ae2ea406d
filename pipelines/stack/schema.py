"""Migrate or check the database of MLflow or Prefect, then start the server.

`python -m pipelines.stack.schema mlflow ARGUMENT...` is replaced by `mlflow ARGUMENT...`, and with
`prefect` by Prefect's server behind our guard. MLflow's older schema is migrated here, Prefect's
by its server. A schema of a newer version is refused and not changed: MLflow alone would advise an
upgrade, and Prefect would print a traceback.
"""

import os
import re
import sys
from pathlib import Path

import psycopg

from pipelines.runtime import page_guard, prefect_commands, schema_revisions, stage_command
from settings import LoopError, Settings

TOOL_DATABASES = {  # the variable with the database's URL, and the folder of migrations
    "mlflow": ("MLFLOW_BACKEND_STORE_URI", schema_revisions.MLFLOW_MIGRATIONS),
    "prefect": (
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        f"{schema_revisions.PREFECT_MIGRATIONS}/postgresql",
    ),
}
PREFECT_PORT, EVERY_ADDRESS = 4200, "0.0.0.0"  # noqa: S104 -- in its container
RESTORE_MARK = Path("/artefacts/.restoring")  # written by pipelines/stack/restore.py
STACK_RECOVERY_HINT = "Start the newer image again, or restore a backup: make restore FROM=..."


def current_revisions(url: str) -> set[str]:
    """Return the revisions of the database; an empty database has none."""
    libpq = re.sub(r"^postgresql\+\w+:", "postgresql:", url)
    with psycopg.connect(libpq, connect_timeout=10) as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return set()
        return {
            str(row) for (row,) in connection.execute("SELECT version_num FROM alembic_version")
        }


def prepare_database(tool: str) -> None:
    """Check the schema of the tool's database; migrate it if it is MLflow's."""
    variable, below = TOOL_DATABASES[tool]
    known, newest = schema_revisions.known_revisions(tool, below)
    try:
        current = current_revisions(os.environ[variable])
    except psycopg.Error as error:
        raise LoopError(f"The schema of the database of {tool} can't be read: {error}") from error
    schema_revisions.require_known_revisions(tool, current, known, STACK_RECOVERY_HINT)
    if tool == "mlflow" and current != newest:
        print(f"Migrating the database of mlflow to {', '.join(sorted(newest))} ...", flush=True)
        from mlflow.db import commands

        # Not as a command: the list of processes would show the password in its arguments.
        commands(["upgrade", os.environ[variable]], standalone_mode=False)


def main() -> None:
    tool, command = sys.argv[1], sys.argv[1:]
    with stage_command.exit_on_error():
        if tool == "mlflow" and RESTORE_MARK.exists():
            raise LoopError(
                "A restore was interrupted, and the stack is incomplete. Run it again: "
                "make restore FROM=... FORCE=1"
            )
        prepare_database(tool)
        if tool == "prefect":
            os.environ.update(prefect_commands.prefect_retention_environment(Settings()))
            command = page_guard.guarded_server_command(
                prefect_commands.PREFECT_APP, PREFECT_PORT, EVERY_ADDRESS
            )
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
