"""The lineage of a model: data, code, parameters and environment, as MLflow tags."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from features.build_manifest import definitions_version
from pipelines.training.training_files import TrainingFiles
from pipelines.training.workspace import SOURCE_ROOT, code_digest
from settings import Settings


def lineage_tags(path: Path, md5s: dict[str, str]) -> dict[str, str]:
    """Return the lineage of the training run in `path`; `md5s` are those of its outputs."""
    files, lock = TrainingFiles(path), path / "requirements.lock"
    return {
        "training_id": path.name,
        "as_of": files.manifest["as_of"],
        "holdout_start": files.manifest["holdout_start"],
        "dvc_md5_training": md5s["data/training"],
        "dvc_md5_validated": md5s["data/validated"],
        "git_commit": git_commit(),
        "code_sha256": code_digest(path),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else "none",
        "seed": str(files.params["seed"]),
        "feast_registry_version": definitions_version(),
    }


def git_commit() -> str:
    """Return the commit of the code, with `-dirty` for local changes; `unknown` without git.

    An image has no git: there the setting `commit` holds it.
    """
    if commit := Settings().commit:
        return commit
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("-dirty" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*command: str) -> str:
    run = subprocess.run(
        ["git", *command], cwd=SOURCE_ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()
