"""Where are a version's files? Brought from the registry, and checked against its digest."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from features import durable_files
from pipelines.registry import versions
from pipelines.training import mlflow_tracking
from serving.models.evaluator import Evaluator
from serving.release.document import ServedModel
from settings import LoopError, Settings

VERSION_FILES = ("served", "reference.parquet", "facts.json")


def download_version(settings: Settings, version: str, recorded: str | None = None) -> ServedModel:
    """Brings the version's files to `var/models/<version>/`, unless they are there and whole.

    With `recorded`, the digest that the record has of it, the registry may have lost the version:
    the files that are here serve if they match. Raises `UserError` if there is no such version,
    `LoopError` if its files are gone, or are not those that were registered or recorded.
    """
    with versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        found = versions.find_version(client, version)
        if recorded is None:
            recorded = versions.require_registered_version(settings, client, version).tags["digest"]
    target = settings.var / "models" / version
    if not (target / "card.json").exists():
        if found is None:
            raise LoopError(
                f"Version {version} is not released: it was deleted in the registry, and its files "
                f"are not in {target}. What is served stays as it is. `mlops rollback --to "
                "VERSION` takes another champion of before."
            )
        _download(client, found, target)
    try:
        Evaluator.load(target / "served", recorded)
    except LoopError as error:
        raise LoopError(
            f"Version {version} is not released: its files are not those that were registered. "
            f"What is served stays as it is. {error}"
        ) from error
    threshold = settings.params()["costs"]["threshold"]
    # From the folder of the release document: the home may be moved.
    return ServedModel(version, recorded, f"../models/{version}/served", threshold)


def _download(client: Any, found: Any, target: Path) -> None:
    from mlflow.exceptions import MlflowException

    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for artifact in VERSION_FILES:
            client.download_artifacts(found.run_id, artifact, str(draft))
        facts = json.loads((draft / "facts.json").read_text())
        durable_files.write_json(draft / "card.json", {**facts, "version": target.name})
        draft.chmod(0o755)  # as other folders: the service may run as somebody else
        shutil.rmtree(target, ignore_errors=True)
        durable_files.publish_folder(draft, target)
    except (MlflowException, OSError) as error:
        raise LoopError(
            f"Version {target.name} is not released: its files can't be had from the registry "
            f"({str(error).splitlines()[0][:300]}). What is served stays as it is."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
