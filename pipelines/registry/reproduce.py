"""Rebuild a version from its recorded data, parameters and code, and compare model and metrics.

The data come from DVC by the version's md5, the parameters from its MLflow run. The code comes from
its commit, unless the current code has the same digest.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from features import durable_files, partitions
from monitoring.measures import scores
from pipelines.registry.versions import require_registered_version, reraise_mlflow_errors
from pipelines.runtime import run_command
from pipelines.training import dvc_stages, lineage, workspace
from pipelines.training.training_files import TrainingFiles
from settings import LoopError, Settings, UserError

REQUIRED_TAGS = (
    "candidate", "dvc_md5_training", "git_commit", "code_sha256", "lock_sha256",
)  # fmt: skip
# For commits before the command `python -m pipelines.registry.refit` existed.
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
    """A version in the registry: lineage tags, parameters (text of params.yaml) and metrics."""

    tags: dict[str, str]
    params: bytes
    metrics: dict[str, float]


@dataclass(frozen=True)
class Reproduction:
    """The rebuilt digest, whether it is the `same`, and the metrics and facts that differ."""

    same: bool
    digest: str
    differing_metrics: dict[str, tuple[float, float]]  # recorded and rebuilt value
    notes: list[str]  # differences of commit and packages, for the reader


def reproduce_version(settings: Settings, version: str) -> Reproduction:
    """Rebuild `version` in a temporary folder and compare it with the registry.

    Raises `UserError` if the version or its data don't exist, `LoopError` if its code can't be
    restored.
    """
    record = read_recorded_version(settings, version)
    folder = settings.state / "reproduced"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{version}-") as path:
        return refit_and_compare(settings, record, Path(path))


def read_recorded_version(settings: Settings, version: str) -> RecordedVersion:
    """Return the version's record.

    Raises `UserError` if the version or a tag is missing, `LoopError` if the tag `digest` is, and
    `UnreachableError` without MLflow.
    """
    with reraise_mlflow_errors(settings) as client, tempfile.TemporaryDirectory() as folder:
        registered = require_registered_version(settings, client, version)
        if missing := [name for name in REQUIRED_TAGS if name not in registered.tags]:
            raise UserError(
                f"Version {version} can't be reproduced: its tags {', '.join(missing)} are missing."
            )
        params, facts = (
            Path(client.download_artifacts(registered.run_id, name, folder)).read_bytes()
            for name in ("params.yaml", "facts.json")
        )
    return RecordedVersion(dict(registered.tags), params, json.loads(facts)["evaluation"])


def refit_and_compare(settings: Settings, record: RecordedVersion, path: Path) -> Reproduction:
    """Refit the recorded candidate in the empty folder `path` and compare."""
    tags, files = record.tags, TrainingFiles(path, settings.use_case)
    with recorded_code(tags["git_commit"], tags["code_sha256"]) as tree:
        workspace.copy_code(path, tree)
        if (tree / "usecase").is_dir():  # an older version had one use case, without its name
            for name, place in (("usecases", "../usecase"), ("data", ".")):
                (path / name).mkdir()
                (path / name / settings.usecase).symlink_to(place)
    dvc_stages.restore_output(settings, tags["dvc_md5_training"], files.data / "training")
    durable_files.write_file(path / workspace.params_file(settings), record.params)
    digest = _fit(settings, path, tags["candidate"])
    prob, costs = files.scores[tags["candidate"]], files.params["costs"]
    rebuilt = scores.metrics(files.scores["label"], prob, costs)
    differing = {
        name: (value, rebuilt[name])
        for name, value in record.metrics.items()
        if value != rebuilt[name]
    }
    return Reproduction(digest == tags["digest"], digest, differing, _environment_notes(tags))


@contextmanager
def recorded_code(commit: str, digest: str) -> Iterator[Path]:
    """Yield a folder with the code of this digest: the current code, or a worktree of `commit`.

    Raises `LoopError` if neither has this digest.
    """
    if workspace.code_digest(workspace.SOURCE_ROOT) == digest:
        yield workspace.SOURCE_ROOT
        return
    # A dirty commit is good enough if its code has the digest: parameters are recorded apart.
    commit = commit.removesuffix("-dirty")
    try:
        lineage.run_git("cat-file", "-e", f"{commit}^{{commit}}")
    except LoopError as error:
        raise LoopError(
            "The current code differs from the version's, and git can't check out its commit "
            f"{commit} ({error}). Run this in a checkout that has the commit, or in the commit's "
            "image."
        ) from error
    with lineage.commit_files(commit) as tree:
        if workspace.code_digest(tree) != digest:
            raise LoopError(
                f"The version can't be reproduced: the code of the commit {commit} differs "
                "from the recorded code, because it was trained on uncommitted changes."
            )
        yield tree


def _fit(settings: Settings, path: Path, candidate: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLOPS_")}
    # First on the path, so that it wins over an installed copy of this project.
    places = [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"MLOPS_WORKSPACE": str(path), "PYTHONPATH": os.pathsep.join(places)}
    flat = not (path / "pipelines" / "registry" / "refit.py").exists()
    command = ["-c", FLAT_REFIT] if flat else ["-m", "pipelines.registry.refit"]
    run = run_command.run_to_end(
        [sys.executable, *command, candidate],
        cwd=path,
        capture_output=True,
        env={**inherited, **settings.environment(), **own},
    )
    if run.returncode:
        raise LoopError(f"The training failed: {run.stderr[-2000:]}")
    return run.stdout.split()[-1]


def _environment_notes(tags: dict[str, str]) -> list[str]:
    """Return differences of commit and packages between the version and the current checkout."""
    notes = []
    if tags["git_commit"].endswith("-dirty"):
        same = workspace.code_digest(workspace.SOURCE_ROOT) == tags["code_sha256"]
        missing = "its uncommitted changes were not in the code"
        why = "the current code is the same, but not in git" if same else missing
        notes.append(f"Its commit is {tags['git_commit']}: {why}")
    lock = workspace.SOURCE_ROOT / "requirements.lock"
    if partitions.recipe_digest(lock) != tags["lock_sha256"]:
        notes.append("The current packages come from another requirements.lock than the version's")
    return notes
