"""Where are a version's files? Brought from the registry, and checked against its digest."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from features import durable
from pipelines import entries, tracking
from pipelines.register import MODEL
from serving.evaluator import Evaluator
from serving.release import ServedModel
from settings import LoopError, Settings, UserError

NEEDED = ("served", "reference.parquet", "facts.json")


def registered(settings: Settings, client: Any, version: str) -> Any:
    """The version in the registry. Raises `UserError` if there is none of this number."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(MODEL, version)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        raise UserError(f"There is no version {version} in the registry.") from error


def fetch(settings: Settings, version: str) -> ServedModel:
    """Brings the version's files to `var/models/<version>/`, unless they are there and whole.

    Raises `UserError` if there is no such version, `LoopError` if its files are gone, or are not
    those that were registered.
    """
    with entries.reached(settings):
        client = tracking.client(settings)
        found = registered(settings, client, version)
    digest = found.tags["digest"]
    target = settings.var / "models" / version
    if not (target / "card.json").exists():
        _download(client, found, target)
    try:
        Evaluator.load(target / "served", digest)
    except LoopError as error:
        raise LoopError(
            f"Version {version} is not released: its files are not those that were registered. "
            f"What is served stays as it is. {error}"
        ) from error
    threshold = settings.params()["costs"]["threshold"]
    return ServedModel(version, digest, str(target / "served"), threshold)


def _download(client: Any, found: Any, target: Path) -> None:
    from mlflow.exceptions import MlflowException

    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for artifact in NEEDED:
            client.download_artifacts(found.run_id, artifact, str(draft))
        facts = json.loads((draft / "facts.json").read_text())
        durable.write_json(draft / "card.json", {**facts, "version": target.name})
        draft.chmod(0o755)  # as other folders: the service may run as somebody else
        shutil.rmtree(target, ignore_errors=True)
        durable.publish_folder(draft, target)
    except (MlflowException, OSError) as error:
        raise LoopError(
            f"Version {target.name} is not released: its files can't be had from the registry "
            f"({str(error).splitlines()[0][:300]}). What is served stays as it is."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
