"""The lineage of a model: data, code, parameters and environment, as MLflow tags."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from features import partitions
from features.build_manifest import definitions_version
from pipelines.training import workspace
from pipelines.training.training_files import TrainingFiles
from settings import LoopError, Settings


def lineage_tags(files: TrainingFiles, md5s: dict[str, str]) -> dict[str, str]:
    """Return the lineage of the training run; `md5s` are those of its outputs."""
    path, lock = files.path, files.path / "requirements.lock"
    return {
        "training_id": path.name,
        "as_of": files.manifest["as_of"],
        "holdout_start": files.manifest["holdout_start"],
        "dvc_md5_training": md5s[f"data/{files.use_case.name}/training"],
        "dvc_md5_validated": md5s[f"data/{files.use_case.name}/validated"],
        "git_commit": git_commit(),
        "code_sha256": workspace.code_digest(path),
        "lock_sha256": partitions.recipe_digest(lock) if lock.exists() else "none",
        "seed": str(files.params["seed"]),
        "feast_registry_version": definitions_version(files.use_case),
    }


def git_commit() -> str:
    """Return the commit of the code, with `-dirty` for local changes; `unknown` without git.

    An image has no git: there the setting `commit` holds it.
    """
    if commit := Settings().commit:
        return commit
    try:
        commit = run_git("rev-parse", "HEAD")
        return commit + ("-dirty" if run_git("status", "--porcelain") else "")
    except LoopError:
        return "unknown"


def run_git(*command: str) -> str:
    """Return the output of git in the project's checkout; raise `LoopError` with its reason."""
    try:
        run = subprocess.run(
            ["git", *command], cwd=workspace.SOURCE_ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise LoopError((getattr(error, "stderr", "") or str(error)).strip()) from error
    return run.stdout.strip()


@contextmanager
def commit_files(commit: str) -> Iterator[Path]:
    """Yield a folder with the files of `commit`, a git worktree; remove it at the end.

    Raises `LoopError` with git's reason if git can't check the commit out.
    """
    with tempfile.TemporaryDirectory(prefix="commit-") as parent:
        tree = Path(parent) / "tree"
        run_git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            run_git("worktree", "remove", "--force", str(tree))
