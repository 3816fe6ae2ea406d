"""Brings what an older version left in `var/`, or left in another folder, up to date.

Called when a command opens a home, and before MLflow is used. Each migration changes files only
after a copy of them, and a second call changes nothing. docs/upgrade.md has the words for users.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from features import durable
from pipelines import schemas
from settings import LoopError, Settings, UserError

FORMAT = 2  # of the files in var/; 1 is v0.1, which wrote no number
# Where MLflow keeps the place of an artefact: absolute, whatever it is told.
PLACES = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"), ("model_versions", "storage_location"),
    ("model_versions", "source"),
)  # fmt: skip
MEND = "Use that version again, or put a copy from before its upgrade in place (docs/upgrade.md)."


def open_home(settings: Settings) -> None:
    """Migrates the state below `var/` if it is older, or was moved; does nothing else.

    Raises `UserError` if a newer version wrote it, which is left as it is.
    """
    if not settings.var.exists() or not _due(settings):
        return
    with durable.locked(lock(settings), what="An upgrade"):
        found = stored_format(settings)
        for database, tool, below in _databases(settings):
            _upgrade(database, tool, below)
        _follow_move(settings)
        for migrate in MIGRATIONS[found - 1 :]:
            migrate(settings)
        durable.write_json(_file(settings), {"format": FORMAT})


def lock(settings: Settings) -> Path:
    """The lock of whoever makes or migrates the state."""
    return settings.var / "format.lock"


def stored_format(settings: Settings) -> int:
    """The format of the files in `var/`. Raises `UserError` if this version does not know it."""
    written = durable.read_json(_file(settings))
    if written is None:
        left = (_mlflow(settings), settings.release_file, settings.staging_file)
        return 1 if any(path.exists() for path in left) else FORMAT
    found = int(written["format"])
    if found > FORMAT:
        raise UserError(
            f"The state in {settings.var} has the format {found}, and this version knows up to "
            f"{FORMAT}: a newer version wrote it. Nothing was changed. {MEND}"
        )
    return found


def _file(settings: Settings) -> Path:
    return settings.var / "format.json"


def _mlflow(settings: Settings) -> Path:
    return settings.var / "mlflow" / "mlflow.db"


def _databases(settings: Settings) -> Iterator[tuple[Path, str, str]]:
    """The embedded databases that are there, each with its tool and the folder of migrations."""
    prefect = settings.var / "prefect" / "prefect.db"
    if settings.tracking_uri is None and _mlflow(settings).exists():
        yield _mlflow(settings), "mlflow", schemas.MLFLOW
    if settings.owns_prefect and prefect.exists():
        yield prefect, "prefect", f"{schemas.PREFECT}/sqlite"


def _due(settings: Settings) -> bool:
    """Whether anything has to be done; a few milliseconds, at every command."""
    if stored_format(settings) < FORMAT or not _file(settings).exists() or _moved(settings):
        return True
    return any(_outdated(*each) for each in _databases(settings))


def _outdated(database: Path, tool: str, below: str) -> str | None:
    """The revision of its schema, if that has to be migrated here or copied before its server does.

    Raises `UserError` if only a newer version knows it.
    """
    known, newest = schemas.known(tool, below)
    with _opened(database) as connection:
        if not connection.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        ).fetchall():
            return None  # empty: its tool makes it
        found = {str(each) for (each,) in connection.execute("SELECT * FROM alembic_version")}
    try:
        schemas.require_known(tool, found, known, MEND)
    except LoopError as error:
        raise UserError(f"{error} It is {database}.") from error
    revision = "-".join(sorted(found))
    if found == newest or (tool != "mlflow" and _kept(database, revision).exists()):
        return None
    return revision


def _upgrade(database: Path, tool: str, below: str) -> None:
    """Migrates MLflow's database; Prefect's server migrates its own. A copy stays beside it."""
    revision = _outdated(database, tool, below)
    if revision is None:
        return
    kept = _copy(database, revision)
    _tell(f"The database of {tool} is migrated to this version; as it was it is kept in {kept}.")
    if tool != "mlflow":
        return
    from mlflow.db import commands

    # Into another file first: SQLite can't take a broken migration back.
    with durable.replacing(database) as unfinished:
        _backup(database, unfinished)
        commands(["upgrade", f"sqlite:///{unfinished}"], standalone_mode=False)


def _kept(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}.{name}.bak")


def _copy(path: Path, name: str) -> Path:
    """A copy of the file beside it, unless one of this name is there from before."""
    kept = _kept(path, name)
    if not kept.exists():
        with durable.replacing(kept) as unfinished:
            if path.suffix == ".db":
                _backup(path, unfinished)
            else:
                unfinished.write_bytes(path.read_bytes())
    return kept


def _backup(database: Path, target: Path) -> None:
    with _opened(database) as source, _opened(target) as copy:
        source.backup(copy)


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are one transaction, which ends with the block."""
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        yield connection


def _moved(settings: Settings) -> set[str]:
    """The folders, as URIs, in which MLflow looks for our artefacts and which are not ours now."""
    if settings.tracking_uri is not None or not _mlflow(settings).exists():
        return set()
    with _opened(_mlflow(settings)) as connection:
        if not connection.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'experiments'"
        ).fetchall():
            return set()
        found = connection.execute(
            "SELECT artifact_location FROM experiments "
            "WHERE artifact_location LIKE 'file:%/var/mlflow/artifacts'"
        ).fetchall()
    return {str(each) for (each,) in found} - {artefacts(settings)}


def artefacts(settings: Settings) -> str:
    """Where the embedded MLflow keeps artefacts, as a URI."""
    return (settings.var / "mlflow" / "artifacts").as_uri()


def _follow_move(settings: Settings) -> None:
    """Has MLflow look for our artefacts where they are; in one transaction."""
    for old in _moved(settings):
        _tell(f"The artefacts of MLflow were at {old}: it looks for them in this home now.")
        with _opened(_mlflow(settings)) as connection:
            for table, column in PLACES:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (artefacts(settings), len(old) + 1, old, len(old) + 1, f"{old}/"),
                )


def relative_paths(settings: Settings) -> None:
    """Format 1 to 2: a release names its models relative to its own folder, not to the disk's."""
    for file in (settings.release_file, settings.staging_file):
        text = file.read_text() if file.exists() else None
        if text is not None and (changed := _relative(text)) != text:
            _copy(file, "format-1")
            durable.write(file, changed)
    if settings.tracking_uri is not None or not _mlflow(settings).exists():
        return
    _copy(_mlflow(settings), "format-1")
    with _opened(_mlflow(settings)) as connection:
        tag = "FROM registered_model_tags WHERE key = 'release'"
        for row, text in connection.execute(f"SELECT rowid, value {tag}").fetchall():
            connection.execute(
                "UPDATE registered_model_tags SET value = ? WHERE rowid = ?",
                (_relative(text), row),
            )


def _relative(text: str) -> str:
    """The release document with relative paths; one that can't be read stays as it is."""
    try:
        document: dict[str, Any] = json.loads(text)
        models = [document["champion"], (document["challenger"] or {}).get("model")]
        for model in filter(None, models):
            path = Path(model["path"])
            if path.is_absolute() and path.parts[-3:] == ("models", model["version"], "served"):
                model["path"] = f"../models/{model['version']}/served"
    except (ValueError, TypeError, KeyError, AttributeError):
        return text
    return json.dumps(document, indent=2)


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


MIGRATIONS: tuple[Callable[[Settings], None], ...] = (relative_paths,)
