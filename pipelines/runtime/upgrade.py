"""Brings what an older version left in `var/`, or left in another folder, up to date.

Called when a command opens a home, and before MLflow is used. Each migration changes files only
after a copy of them, and a second call changes nothing. docs/upgrade.md has the words for users.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from features import durable_files, locks
from pipelines.runtime import embedded_databases
from settings import Settings, UserError

STATE_FORMAT = 2  # of the files in var/; 1 is v0.1, which wrote no number


def upgrade_home(settings: Settings) -> None:
    """Migrates the state below `var/` if it is older, or was moved; does nothing else.

    Raises `UserError` if a newer version wrote it, which is left as it is. Whoever may only read
    the state, as the service in the stack, leaves it to the others.
    """
    if not (settings.var.exists() and _due(settings) and os.access(settings.var, os.W_OK)):
        return
    with locks.hold_lock(state_lock_file(settings), what="An upgrade"):
        found = stored_format(settings)
        for each in embedded_databases.existing_databases(settings):
            embedded_databases.migrate_database(*each)
        for migrate in MIGRATIONS[found - 1 :]:
            migrate(settings)
        embedded_databases.update_artefact_paths(settings)
        durable_files.write_json(_file(settings), {"format": STATE_FORMAT})


def state_lock_file(settings: Settings) -> Path:
    """The lock of whoever makes or migrates the state."""
    return settings.var / "format.lock"


def stored_format(settings: Settings) -> int:
    """The format of the files in `var/`. Raises `UserError` if this version does not know it."""
    written = durable_files.read_json(_file(settings))
    if written is None:
        left = (
            embedded_databases.mlflow_database(settings),
            settings.release_file,
            settings.staging_file,
        )
        return 1 if any(path.exists() for path in left) else STATE_FORMAT
    found = int(written["format"])
    if found > STATE_FORMAT:
        raise UserError(
            f"The state in {settings.var} has the format {found}, and this version knows up to "
            f"{STATE_FORMAT}: a newer version wrote it. Nothing was changed. "
            f"{embedded_databases.RECOVERY_HINT}"
        )
    return found


def _file(settings: Settings) -> Path:
    return settings.var / "format.json"


def _due(settings: Settings) -> bool:
    """Whether anything has to be done; a few milliseconds, at every command."""
    older = [
        embedded_databases.outdated_revision(*each)
        for each in embedded_databases.existing_databases(settings)
    ]
    known = stored_format(settings) == STATE_FORMAT and _file(settings).exists()
    return any(older) or not known or bool(embedded_databases.moved_artefact_roots(settings))


def make_release_paths_relative(settings: Settings) -> None:
    """Format 1 to 2: a release names its models relative to its own folder, not to the disk's."""
    for file in (settings.release_file, settings.staging_file):
        text = file.read_text() if file.exists() else None
        if text is not None and (changed := _relative(text)) != text:
            embedded_databases.keep_copy(file, "format-1")
            durable_files.write_file(file, changed)
    if (
        settings.tracking_uri is not None
        or not embedded_databases.mlflow_database(settings).exists()
    ):
        return
    embedded_databases.keep_copy(embedded_databases.mlflow_database(settings), "format-1")
    with embedded_databases.open_database(
        embedded_databases.mlflow_database(settings)
    ) as connection:
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


MIGRATIONS: tuple[Callable[[Settings], None], ...] = (make_release_paths_relative,)
