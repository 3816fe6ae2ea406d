"""Upgrade the state in `var/` of an older version, or of a home that was moved.

Runs when a command opens a home, and before MLflow is used. A migration copies each file before it
changes it; a second call changes nothing. docs/upgrade.md is the guide for users.
"""

import json
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from features import durable_files, locks
from pipelines.runtime import embedded_databases
from settings import Settings, UserError

STATE_FORMAT = 3  # of the files in var/; v0.1 wrote no number and counts as 1
OLDER_MODEL, OLDER_AUDIT = "mlops-loop", "releases"  # names in MLflow up to format 2


def upgrade_home(settings: Settings, tools: Collection[str] = embedded_databases.TOOLS) -> None:
    """Migrate the state below `var/`, with the databases of `tools`, if it is older or was moved.

    Does nothing without write access, such as in the stack's service. Raises `UserError`, and
    changes nothing, if a newer version wrote the state; `UnreachableError` if a database is damaged
    or locked.
    """
    if not (settings.var.exists() and _due(settings, tools) and os.access(settings.var, os.W_OK)):
        return
    with locks.hold_lock(state_lock_file(settings), what="An upgrade"):
        stored = stored_format(settings)
        for each in embedded_databases.existing_databases(settings, tools):
            embedded_databases.migrate_database(*each)
        for migrate in MIGRATIONS[stored - 1 :]:
            migrate(settings)
        embedded_databases.update_artefact_paths(settings)
        durable_files.write_json(_file(settings), {"format": STATE_FORMAT})


def state_lock_file(settings: Settings) -> Path:
    """Return the lock file of creating and migrating the state."""
    return settings.var / "format.lock"


def stored_format(settings: Settings) -> int:
    """Return the format of the files in `var/`; raise `UserError` if a newer version wrote it."""
    written = durable_files.read_json(_file(settings))
    if written is None:
        files_of_v01 = (
            embedded_databases.mlflow_database(settings),
            *_older_release_files(settings),
            settings.release_file,
        )
        return 1 if any(path.exists() for path in files_of_v01) else STATE_FORMAT
    stored = int(written["format"])
    if stored > STATE_FORMAT:
        raise UserError(
            f"The state in {settings.var} has format {stored}, but this version knows up to "
            f"{STATE_FORMAT}: a newer version wrote it. Nothing was changed. "
            f"{embedded_databases.RECOVERY_HINT}",
            code="state_newer",
        )
    return stored


def _file(settings: Settings) -> Path:
    return settings.var / "format.json"


def _due(settings: Settings, tools: Collection[str]) -> bool:
    """Whether a migration is due. Takes a few milliseconds, in every command."""
    databases = embedded_databases.existing_databases(settings, tools)
    older = [embedded_databases.outdated_revision(*each) for each in databases]
    current = stored_format(settings) == STATE_FORMAT and _file(settings).exists()
    return any(older) or not current or bool(embedded_databases.moved_artefact_roots(settings))


def make_release_paths_relative(settings: Settings) -> None:
    """Migrate format 1 to 2: the paths of models become relative to the folder of the release."""
    for file in _older_release_files(settings):
        text = file.read_text() if file.exists() else None
        if text is not None and (changed := _relative(text)) != text:
            embedded_databases.keep_copy(file, "format-1")
            durable_files.write_file(file, changed)
    database = embedded_databases.embedded_mlflow(settings)
    if database is None:
        return
    embedded_databases.keep_copy(database, "format-1")
    with embedded_databases.open_database(database) as connection:
        tag = "FROM registered_model_tags WHERE key = 'release'"
        for row, text in connection.execute(f"SELECT rowid, value {tag}").fetchall():
            connection.execute(
                "UPDATE registered_model_tags SET value = ? WHERE rowid = ?", (_relative(text), row)
            )


def _relative(text: str) -> str:
    """Return the release document with relative paths; an unreadable one is returned unchanged."""
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


def _older_release_files(settings: Settings) -> list[Path]:
    return [settings.var / "release" / name for name in ("release.json", "staging.json")]


def name_the_use_case(settings: Settings) -> None:
    """Migrate format 2 to 3: what belongs to the only use case so far stands under its name.

    It is the default of the settings. The online store is rebuilt by the next publication.
    """
    own = settings.model_copy(update={"usecase": Settings.model_fields["usecase"].default})
    _move(OLDER_STATE, settings.var, own.state)
    for data in (settings.root / "data", *(own.state / "training").glob("[!.]*/data")):
        _move(OLDER_DATA, data, data / own.usecase)
    shutil.rmtree(settings.var / "feast", ignore_errors=True)
    database = embedded_databases.embedded_mlflow(settings)
    if database is not None:
        embedded_databases.keep_copy(database, "format-2")
    elif settings.tracking_uri is None:
        return
    from mlflow import MlflowClient

    client = MlflowClient(settings.mlflow_uri)
    if client.search_registered_models(f"name = '{OLDER_MODEL}'"):
        client.rename_registered_model(OLDER_MODEL, own.usecase)
    for name, renamed in ((OLDER_MODEL, own.usecase), (OLDER_AUDIT, f"{own.usecase} releases")):
        if (experiment := client.get_experiment_by_name(name)) is not None:
            client.rename_experiment(experiment.experiment_id, renamed)


def _move(names: Collection[str], old: Path, new: Path) -> None:
    for name in names:
        if (old / name).exists() and not (new / name).exists():
            new.mkdir(parents=True, exist_ok=True)
            shutil.move(old / name, new / name)


OLDER_STATE = (
    "children.json", "evidently", "gx", "log", "logs", "models", "monitoring", "prove", "release",
    "replay", "reports", "restated.json", "training", "world.json",
)  # fmt: skip
OLDER_DATA = (
    "candidates", "champion", "evaluation", "features", "quarantine", "raw", "replaced", "training",
    "validated",
)  # fmt: skip
MIGRATIONS: tuple[Callable[[Settings], None], ...] = (
    make_release_paths_relative, name_the_use_case,
)  # fmt: skip
