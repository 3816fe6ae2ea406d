"""Download of a version's files from the registry, checked against its digest."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from features import durable_files
from pipelines.registry import versions
from serving.models.evaluator import Evaluator
from serving.release.document import ServedModel
from settings import LoopError, Settings

VERSION_FILES = ("served", "reference.parquet", "facts.json")


def download_version(settings: Settings, version: str, recorded: str | None = None) -> ServedModel:
    """Download the version's files to `var/models/<version>/` if needed; verify their digest.

    With `recorded`, the digest in the audit trail, the version may be deleted in the registry: the
    local files are used if they match. Raises `UserError` if there is no such version, `LoopError`
    if files are missing or differ from the registered or recorded ones.
    """
    with versions.reraise_mlflow_errors(settings) as client:
        registered = versions.find_version(client, version)
        if recorded is None:
            recorded = versions.require_registered_version(client, version).tags["digest"]
    target = settings.var / "models" / version
    if not (target / "card.json").exists():
        if registered is None:
            raise LoopError(
                f"Version {version} is not released: it was deleted in the registry, and its files "
                f"are not in {target}. Serving is unaffected. Choose another earlier champion with "
                "`mlops rollback --to VERSION`."
            )
        _download(client, registered.run_id, target)
    try:
        Evaluator.load(target / "served", recorded)
    except LoopError as error:
        raise LoopError(
            f"Version {version} is not released: its files are not those that were registered. "
            f"Serving is unaffected. {error}"
        ) from error
    threshold = settings.params()["costs"]["threshold"]
    # Relative to the folder of the release file, because the home may be moved.
    return ServedModel(version, recorded, f"../models/{version}/served", threshold)


def _download(client: Any, run_id: str, target: Path) -> None:
    from mlflow.exceptions import MlflowException

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
            draft = Path(folder) / target.name  # not private, as a temporary folder is
            draft.mkdir()
            for artifact in VERSION_FILES:
                client.download_artifacts(run_id, artifact, str(draft))
            facts = json.loads((draft / "facts.json").read_text())
            durable_files.write_json(draft / "card.json", {**facts, "version": target.name})
            shutil.rmtree(target, ignore_errors=True)
            durable_files.publish_folder(draft, target)
    except (MlflowException, OSError) as error:
        raise LoopError(
            f"Version {target.name} is not released: its files can't be downloaded from the "
            f"registry ({str(error).splitlines()[0][:300]}). Serving is unaffected."
        ) from error
