"""Tests of reproduction: a version's code is restored from git after later commits."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.registry import reproduce
from pipelines.training import workspace
from settings import LoopError, Settings, UnreachableError
from tests.homes import v01


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a file in each folder of the code, committed."""
    root = tmp_path / "checkout"
    for name in (
        *(f"{folder}/steps.py" for folder in workspace.CODE_FOLDERS),
        *workspace.CODE_FILES,
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("first\n")
    git(root, "init", "--quiet")
    commit(root)
    monkeypatch.setattr(workspace, "SOURCE_ROOT", root)
    return root


def git(root: Path, *command: str) -> str:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    run = subprocess.run(
        ["git", *who, *command], cwd=root, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def commit(root: Path) -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "a step")
    return git(root, "rev-parse", "HEAD")


@pytest.mark.parametrize("suffix", ["", "-dirty"])
def test_the_code_of_an_older_commit_comes_from_a_worktree(checkout: Path, suffix: str) -> None:
    older, digest = git(checkout, "rev-parse", "HEAD"), workspace.code_digest(checkout)
    (checkout / "pipelines" / "steps.py").write_text("second\n")
    commit(checkout)
    with reproduce.recorded_code(older + suffix, digest) as tree:
        assert tree != checkout
        assert (tree / "pipelines" / "steps.py").read_text() == "first\n"
    assert not tree.exists()
    assert len(git(checkout, "worktree", "list").splitlines()) == 1


def test_matching_current_code_needs_no_git(checkout: Path) -> None:
    with reproduce.recorded_code("unknown", workspace.code_digest(checkout)) as tree:
        assert tree == checkout


def test_uncommitted_code_is_reported(checkout: Path) -> None:
    committed = git(checkout, "rev-parse", "HEAD")
    (checkout / "pipelines" / "steps.py").write_text("tried out\n")
    tried = workspace.code_digest(checkout)
    (checkout / "pipelines" / "steps.py").write_text("discarded\n")
    expected = pytest.raises(LoopError, match="uncommitted changes")
    with expected, reproduce.recorded_code(f"{committed}-dirty", tried):
        pass
    assert len(git(checkout, "worktree", "list").splitlines()) == 1


def test_an_unavailable_mlflow_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_free_port: Callable[[], int]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Settings(home=tmp_path, tracking_uri=f"http://127.0.0.1:{a_free_port()}")
    with pytest.raises(UnreachableError, match="Check MLflow"):
        reproduce.read_recorded_version(away, "1")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_version_of_v01_is_reproduced_with_the_code_of_its_commit(
    tmp_path: Path, make_home: Callable[..., Any]
) -> None:
    """Its modules have other names and places than the current ones."""
    home = make_home(tmp_path / "home", measured=False)
    for part in ("data", "var"):
        shutil.copytree(v01.whole_home() / part, home.settings.home / part)
    done = home.run("reproduce", "1")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "the same bit for bit" in done.stdout
