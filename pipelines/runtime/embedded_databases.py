"""The embedded databases of MLflow and Prefect: schemas, copies, and where artefacts are."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from features import durable_files
from pipelines.runtime import schema_revisions
from settings import LoopError, Settings, UserError

# Columns in which MLflow keeps the place of an artefact: always absolute.
ARTEFACT_COLUMNS = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"), ("model_versions", "storage_location"),
    ("model_versions", "source"),
)  # fmt: skip
RECOVERY_HINT = (
    "Use that version again, or put a copy from before its upgrade in place (docs/upgrade.md)."
)


def mlflow_database(settings: Settings) -> Path:
    return settings.var / "mlflow" / "mlflow.db"


def artefact_root_uri(settings: Settings) -> str:
    """Where the embedded MLflow keeps artefacts, as a URI."""
    return (settings.var / "mlflow" / "artifacts").as_uri()


def existing_databases(settings: Settings) -> Iterator[tuple[Path, str, str]]:
    """The embedded databases that are there, each with its tool and the folder of migrations."""
    prefect = settings.var / "prefect" / "prefect.db"
    if settings.tracking_uri is None and mlflow_database(settings).exists():
        yield mlflow_database(settings), "mlflow", schema_revisions.MLFLOW_MIGRATIONS
    if settings.owns_prefect and prefect.exists():
        yield prefect, "prefect", f"{schema_revisions.PREFECT_MIGRATIONS}/sqlite"


def outdated_revision(database: Path, tool: str, below: str) -> str | None:
    """The revision of its schema, if that has to be migrated here or copied before its server does.

    Raises `UserError` if only a newer version knows it.
    """
    known, newest = schema_revisions.known_revisions(tool, below)
    with open_database(database) as connection:
        if not connection.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        ).fetchall():
            return None  # empty: its tool makes it
        found = {str(each) for (each,) in connection.execute("SELECT * FROM alembic_version")}
    try:
        schema_revisions.require_known_revisions(tool, found, known, RECOVERY_HINT)
    except LoopError as error:
        raise UserError(f"{error} It is {database}.") from error
    revision = "-".join(sorted(found))
    if found == newest or (tool != "mlflow" and _kept(database, revision).exists()):
        return None
    return revision


def migrate_database(database: Path, tool: str, below: str) -> None:
    """Migrates MLflow's database; Prefect's server migrates its own. A copy stays beside it."""
    revision = outdated_revision(database, tool, below)
    if revision is None:
        return
    kept = keep_copy(database, revision)
    _tell(f"The database of {tool} is migrated to this version; as it was it is kept in {kept}.")
    if tool != "mlflow":
        return
    from mlflow.db import commands

    # Into another file first: SQLite can't take a broken migration back.
    with durable_files.atomic_replace(database) as unfinished:
        _backup(database, unfinished)
        commands(["upgrade", f"sqlite:///{unfinished}"], standalone_mode=False)


def _kept(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}.{name}.bak")


def keep_copy(path: Path, name: str) -> Path:
    """A copy of the file beside it, unless one of this name is there from before."""
    kept = _kept(path, name)
    if not kept.exists():
        with durable_files.atomic_replace(kept) as unfinished:
            if path.suffix == ".db":
                _backup(path, unfinished)
            else:
                unfinished.write_bytes(path.read_bytes())
    return kept


def _backup(database: Path, target: Path) -> None:
    with open_database(database) as source, open_database(target) as copy:
        source.backup(copy)


@contextmanager
def open_database(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are one transaction, which ends with the block."""
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        yield connection


def moved_artefact_roots(settings: Settings) -> set[str]:
    """The folders, as URIs, in which MLflow looks for our artefacts and which are not ours now."""
    if settings.tracking_uri is not None or not mlflow_database(settings).exists():
        return set()
    with open_database(mlflow_database(settings)) as connection:
        if not connection.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'experiments'"
        ).fetchall():
            return set()
        found = connection.execute(
            "SELECT artifact_location FROM experiments "
            "WHERE artifact_location LIKE 'file:%/var/mlflow/artifacts'"
        ).fetchall()
    return {str(each) for (each,) in found} - {artefact_root_uri(settings)}


def update_artefact_paths(settings: Settings) -> None:
    """Has MLflow look for our artefacts where they are; in one transaction."""
    for old in moved_artefact_roots(settings):
        _tell(f"The artefacts of MLflow were at {old}: it looks for them in this home now.")
        with open_database(mlflow_database(settings)) as connection:
            for table, column in ARTEFACT_COLUMNS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (artefact_root_uri(settings), len(old) + 1, old, len(old) + 1, f"{old}/"),
                )


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
