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
    """Download the version's files to `var/models/<version>/` unless they are there and whole.

    With `recorded`, the digest in the audit trail, the version may be deleted in the registry: the
    local files are used if they match. Raises `UserError` if there is no such version, `LoopError`
    if files are missing or differ from the registered or recorded ones.
    """
    with versions.reraise_mlflow_errors(settings) as client:
        registered = versions.find_version(client, version)
        if recorded is None:
            recorded = versions.require_registered_version(client, version).tags["digest"]
    target = settings.var / "models" / version
    if not are_files_whole(target, recorded):
        if registered is None:
            raise LoopError(
                f"Version {version} is not released: it was deleted in the registry, and its files "
                f"in {target} are missing or not those that were registered. Serving is "
                "unaffected. Choose another earlier champion with `mlops rollback --to VERSION`.",
                code="version_deleted",
            )
        _require_no_other_model(target)
        _download(client, registered.run_id, target)
        try:
            Evaluator.load(target / "served", recorded)
        except LoopError as error:
            raise LoopError(
                f"Version {version} is not released: its files in the registry are not those that "
                f"were registered. Serving is unaffected. {error}", code="registry_files_damaged",
            ) from error  # fmt: skip
    threshold = settings.params()["costs"]["threshold"]
    return ServedModel(version, recorded, served_path(version), threshold)


def served_path(version: str) -> str:
    """Return the path of a version's model, relative to the release file: a home may be moved."""
    return f"../models/{version}/served"


def are_files_whole(folder: Path, digest: str) -> bool:
    """Return whether `folder` holds all files of a version, and its model has the digest."""
    try:
        Evaluator.load(folder / "served", digest)
    except LoopError:
        return False
    others = ("card.json", *VERSION_FILES)
    return durable_files.read_json(folder / "card.json") is not None and all(
        (folder / name).exists() for name in others
    )


def _require_no_other_model(folder: Path) -> None:
    """Raise `LoopError` if `folder` holds a whole model: one that is no longer in the registry."""
    card = durable_files.read_json(folder / "card.json") or {}
    if are_files_whole(folder, card.get("digest", "")):
        raise LoopError(
            f"Version {folder.name} is not released: {folder} holds a model of the same number, "
            f"so its files are not those that were registered. Serving is unaffected. If nothing "
            f"serves it, move it: `mv {folder} {folder}.old`.", code="model_folder_taken",
        )  # fmt: skip


def fetch_damaged_files(settings: Settings, *served: ServedModel) -> list[str]:
    """Download the files of these versions again where they are damaged; return those versions."""
    folder = settings.release_file.parent
    damaged = [
        each for each in served if not are_files_whole((folder / each.path).parent, each.digest)
    ]
    for each in damaged:
        download_version(settings, each.version, each.digest)
    return [each.version for each in damaged]


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
            f"registry ({str(error).splitlines()[0][:300]}). Serving is unaffected.",
            code="registry_files_damaged",
        ) from error
