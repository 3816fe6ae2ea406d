"""Download of a version's files from the registry, checked against their signed list."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from features import durable_files
from pipelines.registry import version_files, versions
from serving.models.evaluator import Evaluator
from serving.release.document import ServedModel
from settings import LoopError, Settings


class UnsignedVersionError(LoopError):
    """The version was registered without signatures, so only a recorded digest vouches for it."""

    code = "version_not_signed"


def download_version(settings: Settings, version: str, recorded: str | None = None) -> ServedModel:
    """Download the version's files to `models/<version>/` unless they are there and whole.

    With `recorded`, the digest in the audit trail, the version may be deleted in the registry, or
    be from before signatures: the files count if they have this digest. Raises `UserError` if there
    is no such version, `UnsignedVersionError` if its files are not signed, `LoopError` if files are
    missing or differ from the registered or recorded ones.
    """
    with versions.reraise_mlflow_errors(settings) as client:
        registered = versions.find_version(settings, client, version)
        digest = (
            recorded
            or versions.require_registered_version(settings, client, version).tags["digest"]
        )
    target = settings.state / "models" / version
    is_vouched = recorded is not None
    if not version_files.are_files_whole(settings, target, digest, is_vouched=is_vouched):
        if registered is None:
            raise LoopError(
                f"Version {version} is not released: it was deleted in the registry, and its files "
                f"in {target} are missing or not those that were registered. Serving is "
                "unaffected. Choose another earlier champion with `mlops rollback --to VERSION`.",
                code="version_deleted",
            )
        _require_no_other_model(target, digest)
        _download(client, registered.run_id, target)
        try:
            is_vouched |= version_files.verify_files(settings, target, digest)
        except LoopError as error:
            raise LoopError(
                f"Version {version} is not released: its files in the registry are not those that "
                f"were registered. Serving is unaffected. {error}", code="registry_files_damaged",
            ) from error  # fmt: skip
        if not is_vouched:
            raise UnsignedVersionError(
                f"Version {version} is not released: no trusted key signed its files, and the "
                "record does not hold their digest. Serving is unaffected. Train a new version; or "
                f"look at this one, then run `mlops approve {version} --digest {digest}`."
            )
    threshold = settings.params()["costs"]["threshold"]
    return ServedModel(version, digest, served_path(version), threshold)


def served_path(version: str) -> str:
    """Return the path of a version's model, relative to the release file: a home may be moved."""
    return f"../models/{version}/served"


def _require_no_other_model(folder: Path, digest: str) -> None:
    """Raise `LoopError` if `folder` holds a whole model: one that is no longer in the registry."""
    card = durable_files.read_json(folder / version_files.CARD_FILE) or {}
    if (other := card.get("digest", digest)) == digest:
        return
    try:
        Evaluator.load(folder / "served", other)
    except LoopError:
        return
    raise LoopError(
        f"Version {folder.name} is not released: {folder} holds a model of the same number, so its "
        "files are not those that were registered. Serving is unaffected. If nothing serves it, "
        f"move it: `mv {folder} {folder}.old`.", code="model_folder_taken",
    )  # fmt: skip


def fetch_damaged_files(settings: Settings, *served: ServedModel) -> list[str]:
    """Download the files of these versions again where they are damaged; return those versions."""
    damaged = version_files.damaged_versions(settings, served)
    for each in damaged.values():
        download_version(settings, each.version, each.digest)
    return [each.version for each in damaged.values()]


def check_registered_files(settings: Settings, version: str, digest: str) -> None:
    """Check the version's files in the registry, which may have changed since their download.

    Raises `LoopError` if they are missing or differ. A deleted version has none to check.
    """
    with (
        versions.reraise_mlflow_errors(settings) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        if (registered := versions.find_version(settings, client, version)) is not None:
            target = Path(folder) / version
            _download(client, registered.run_id, target)
            version_files.verify_files(settings, target, digest)


def _download(client: Any, run_id: str, target: Path) -> None:
    from mlflow.exceptions import MlflowException

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
            draft = Path(folder) / target.name  # not private, as a temporary folder is
            draft.mkdir()
            client.download_artifacts(run_id, "", str(draft))
            version_files.write_card(draft)
            shutil.rmtree(target, ignore_errors=True)
            durable_files.publish_folder(draft, target)
    except (MlflowException, OSError, ValueError) as error:
        raise LoopError(
            f"Version {target.name} is not released: its files can't be downloaded from the "
            f"registry ({str(error).splitlines()[0][:300]}). Serving is unaffected.",
            code="registry_files_damaged",
        ) from error
