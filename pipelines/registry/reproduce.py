"""Can a registered version be made again? Its data, parameters and code are had back, and fitted.

The data come from DVC by the md5 on the version, the parameters from its run, and the code from its
commit, unless the code that is here is the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features import durable_files
from pipelines.training import dvc_stages, workspace
from settings import LoopError, Settings, UserError

REQUIRED_TAGS = (
    "digest",
    "candidate",
    "dvc_md5_training",
    "git_commit",
    "code_sha256",
    "lock_sha256",
)
# Code from before the command `python -m pipelines.registry.refit` searches and refits by these
# modules.
FLAT_REFIT = """
import sys
from pathlib import Path
import settings
from pipelines import register, stage, train
here = settings.load()
train.train(here, stage.moment(here.params()["as_of"]))
print("digest", register.refit(here.root, sys.argv[1]))
"""


@dataclass(frozen=True)
class RecordedVersion:
    """What the registry holds of a version: the facts of its lineage, and its metrics."""

    version: str
    tags: dict[str, str]
    params: bytes
    measured: dict[str, float]


@dataclass(frozen=True)
class Reproduction:
    """`differing` has the recorded and the new value of each metric that is not the same."""

    version: str
    same: bool
    digest: str
    differing: dict[str, tuple[float, float]]
    told: list[str]


def reproduce_version(settings: Settings, version: str) -> Reproduction:
    """Makes `version` again in a folder that goes away afterwards, and compares.

    Raises `UserError` if there is no such version or its data are gone, `LoopError` if its code
    can't be had back.
    """
    record = read_recorded_version(settings, version)
    folder = settings.var / "reproduced"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{version}-") as path:
        return refit_and_compare(settings, record, Path(path))


def read_recorded_version(settings: Settings, version: str) -> RecordedVersion:
    """What is on record of `version`. Raises `UserError` if it is not enough."""
    from mlflow.exceptions import MlflowException

    from pipelines.registry.versions import REGISTERED_MODEL
    from pipelines.training import mlflow_tracking

    client = mlflow_tracking.mlflow_client(settings)
    try:
        found = client.get_model_version(REGISTERED_MODEL, version)
    except MlflowException as error:
        raise UserError(
            f"There is no version {version} in the registry: see `mlops ui`."
        ) from error
    if absent := [name for name in REQUIRED_TAGS if name not in found.tags]:
        raise UserError(f"Version {version} lacks {absent}: it was registered without them.")
    with tempfile.TemporaryDirectory() as folder:
        files = [
            Path(client.download_artifacts(found.run_id, name, folder))
            for name in ("params.yaml", "facts.json")
        ]
        params, facts = files[0].read_bytes(), json.loads(files[1].read_text())
    return RecordedVersion(version, dict(found.tags), params, facts["evaluation"])


def refit_and_compare(settings: Settings, record: RecordedVersion, path: Path) -> Reproduction:
    """Fits the recorded candidate anew in the empty folder `path`."""
    tags = record.tags
    with recorded_code(tags["git_commit"], tags["code_sha256"]) as tree:
        workspace.copy_code(path, tree)
    dvc_stages.restore_output(settings, tags["dvc_md5_training"], path / "data" / "training")
    durable_files.write_file(path / workspace.PARAMS_FILE, record.params)
    digest = _fit(settings, path, tags["candidate"])
    measured = _measured(path, tags["candidate"])
    differing = {
        name: (value, measured[name])
        for name, value in record.measured.items()
        if value != measured[name]
    }
    told = _told(tags, path)
    return Reproduction(record.version, digest == tags["digest"], digest, differing, told)


@contextmanager
def recorded_code(commit: str, digest: str) -> Iterator[Path]:
    """A folder with the code of this digest: what is here, or a worktree of the commit.

    Raises `LoopError` if neither has it.
    """
    if workspace.code_digest(workspace.SOURCE_ROOT) == digest:
        yield workspace.SOURCE_ROOT
        return
    # What else was changed then (parameters are on record, notes don't matter), the digest decides.
    commit = commit.removesuffix("-dirty")
    with tempfile.TemporaryDirectory(prefix="commit-") as parent:
        tree = Path(parent) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit, of=commit)
        try:
            if workspace.code_digest(tree) != digest:
                raise LoopError(
                    f"The code of the commit {commit} is not that which is on record: the version "
                    "was trained from changes that were never committed. It can't be made again."
                )
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree), of=commit)


def _git(*command: str, of: str) -> None:
    try:
        subprocess.run(
            ["git", *command], cwd=workspace.SOURCE_ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        told = (getattr(error, "stderr", "") or str(error)).strip()
        raise LoopError(
            f"The code here is not that of the version (commit {of}), and git can't give it "
            f"({told}): run this in a checkout that has the commit, or in the image of that commit."
        ) from error


def _fit(settings: Settings, path: Path, candidate: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLOPS_")}
    environment = {**kept, **settings.environment(), "MLOPS_WORKSPACE": str(path)}
    # The folder comes first, also where this project is installed from elsewhere.
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    flat = not (path / "pipelines" / "registry" / "refit.py").exists()
    command = ["-c", FLAT_REFIT] if flat else ["-m", "pipelines.registry.refit"]
    run = subprocess.run(
        [sys.executable, *command, candidate], cwd=path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        raise LoopError(f"The training failed: {run.stderr[-2000:]}")
    return run.stdout.split()[-1]


def _measured(path: Path, candidate: str) -> dict[str, float]:
    import yaml

    from pipelines.training.train import read_holdout_predictions
    from usecase import evaluation

    scores = read_holdout_predictions(path / "data")
    params: dict[str, Any] = yaml.safe_load((path / workspace.PARAMS_FILE).read_text())
    return evaluation.metrics(scores["label"], scores[candidate], params["costs"])


def _told(tags: dict[str, str], path: Path) -> list[str]:
    """What a reader must know beside the outcome."""
    import hashlib

    told = []
    if tags["git_commit"].endswith("-dirty"):
        here = workspace.code_digest(workspace.SOURCE_ROOT) == tags["code_sha256"]
        why = "the code here is the same, but not in git" if here else (
            "what was not committed then was no code"
        )  # fmt: skip
        told.append(f"Its commit is {tags['git_commit']}: {why}")
    lock = workspace.SOURCE_ROOT / "requirements.lock"
    if hashlib.sha256(lock.read_bytes()).hexdigest() != tags["lock_sha256"]:
        told.append("The packages here are of another requirements.lock than the version's")
    return told
