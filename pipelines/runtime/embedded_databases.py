"""The embedded databases of MLflow and Prefect: migrations, copies, and the paths of artefacts."""

import sqlite3
import sys
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from features import durable_files
from pipelines.runtime import schema_revisions
from settings import Settings, UnreachableError

TOOLS = ("mlflow", "prefect")  # that have an embedded database
# The columns in which MLflow stores paths of artefacts, always absolute.
ARTEFACT_COLUMNS = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"), ("model_versions", "storage_location"),
    ("model_versions", "source"),
)  # fmt: skip
SILENT, PATIENCE = 2.0, 30.0  # seconds of waiting for a lock: before a message, and after it
RECOVERY_HINT = "Use that version, or restore a copy from before its upgrade (docs/upgrade.md)."


def mlflow_database(settings: Settings) -> Path:
    return settings.var / "mlflow" / "mlflow.db"


def embedded_mlflow(settings: Settings) -> Path | None:
    """Return MLflow's embedded database if it is used and exists."""
    database = mlflow_database(settings)
    return database if settings.tracking_uri is None and database.exists() else None


def is_unused(settings: Settings) -> bool:
    """Whether MLflow is embedded and has no database yet."""
    return settings.tracking_uri is None and not mlflow_database(settings).exists()


def artefact_root_uri(settings: Settings) -> str:
    """Return the URI of the artefact folder of the embedded MLflow."""
    return (settings.var / "mlflow" / "artifacts").as_uri()


def existing_databases(
    settings: Settings, tools: Collection[str] = TOOLS
) -> Iterator[tuple[Path, str, str]]:
    """Yield each existing embedded database with its tool and its folder of migrations."""
    mlflow, prefect = embedded_mlflow(settings), settings.var / "prefect" / "prefect.db"
    if mlflow is not None and "mlflow" in tools:
        yield mlflow, "mlflow", schema_revisions.MLFLOW_MIGRATIONS
    if settings.owns_prefect and prefect.exists() and "prefect" in tools:
        yield prefect, "prefect", f"{schema_revisions.PREFECT_MIGRATIONS}/sqlite"


def outdated_revision(database: Path, tool: str, below: str) -> str | None:
    """Return the database's revision if a migration is due, else None.

    MLflow's is migrated here; Prefect's is copied, and its server migrates it. Raises `UserError`
    if a newer version has migrated the database.
    """
    known, newest = schema_revisions.known_revisions(tool, below)
    with open_database(database) as connection:
        if not _has_table(connection, "alembic_version"):
            return None  # empty: its tool creates the schema
        current = {str(row) for (row,) in connection.execute("SELECT * FROM alembic_version")}
    hint = f"{RECOVERY_HINT} The file is {database}."
    schema_revisions.require_known_revisions(tool, current, known, hint)
    revision = "-".join(sorted(current))
    if current == newest or (tool != "mlflow" and _copy_path(database, revision).exists()):
        return None
    return revision


def migrate_database(database: Path, tool: str, below: str) -> None:
    """Copy the database, then migrate it if it is MLflow's; Prefect's server migrates its own."""
    revision = outdated_revision(database, tool, below)
    if revision is None:
        return
    copy = keep_copy(database, revision)
    print_notice(
        f"The database of {tool} is migrated to this version. The old one is kept in {copy}."
    )
    if tool != "mlflow":
        return
    from mlflow.db import commands

    # Migrate a copy: SQLite can't roll back a broken migration.
    with durable_files.atomic_replace(database) as unfinished:
        _backup(database, unfinished)
        commands(["upgrade", f"sqlite:///{unfinished}"], standalone_mode=False)


def _copy_path(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}.{name}.bak")


def keep_copy(path: Path, name: str) -> Path:
    """Copy the file to `<file>.<name>.bak` beside it, unless that exists; return its path."""
    copy = _copy_path(path, name)
    if not copy.exists():
        with durable_files.atomic_replace(copy) as unfinished:
            if path.suffix == ".db":
                _backup(path, unfinished)
            else:
                unfinished.write_bytes(path.read_bytes())
    return copy


def _backup(database: Path, target: Path) -> None:
    with open_database(database) as source, open_database(target) as copy:
        source.backup(copy)


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE name = ?"
    return connection.execute(query, (name,)).fetchone() is not None


@contextmanager
def open_database(database: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection; the block is one transaction.

    After two seconds of waiting for another process, print a message. Raise `UnreachableError` if
    the file is damaged, or still locked after half a minute.
    """
    with closing(sqlite3.connect(database, timeout=SILENT)) as connection:
        try:
            _wait_for_lock(connection, database)
            with connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise UnreachableError(
                f"{database} can't be used: {error}. Serving is unaffected. If another program "
                "holds it, end that program. If it is damaged, move it away and restore it from a "
                "backup; Prefect's holds only the history of runs and is created again."
            ) from error


def _wait_for_lock(connection: sqlite3.Connection, database: Path) -> None:
    probe = "SELECT 1 FROM sqlite_master"
    patient = f"PRAGMA busy_timeout = {PATIENCE * 1000:.0f}"
    try:
        connection.execute(probe)
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        print_notice(f"Waiting for the process that has locked {database} ...")
        connection.execute(patient)
        connection.execute(probe)
    connection.execute(patient)  # a reader may pass where a writer has to wait


def moved_artefact_roots(settings: Settings) -> set[str]:
    """Return the artefact URIs in MLflow's database that are not in this home: it was moved."""
    database = embedded_mlflow(settings)
    if database is None:
        return set()
    with open_database(database) as connection:
        if not _has_table(connection, "experiments"):
            return set()
        locations = connection.execute(
            "SELECT artifact_location FROM experiments "
            "WHERE artifact_location LIKE 'file:%/var/mlflow/artifacts'"
        ).fetchall()
    return {str(each) for (each,) in locations} - {artefact_root_uri(settings)}


def update_artefact_paths(settings: Settings) -> None:
    """Point MLflow's database to this home's artefacts, in one transaction for each old URI."""
    for old in moved_artefact_roots(settings):
        print_notice(f"This home was moved: MLflow's artefacts at {old} are now read from here.")
        with open_database(mlflow_database(settings)) as connection:
            for table, column in ARTEFACT_COLUMNS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (artefact_root_uri(settings), len(old) + 1, old, len(old) + 1, f"{old}/"),
                )


def print_notice(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
