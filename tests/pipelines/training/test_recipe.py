"""`dvc repro` rebuilds everything on a fresh clone, and nothing the second time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from contract import use_case_names
from tests.use_case import USE_CASE

ROOT = Path(__file__).parents[3]


def git(folder: Path, *command: str) -> str:
    run = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with uncommitted changes, and parameters of a few days for each use case."""
    folder = tmp_path_factory.mktemp("clone")
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for name in use_case_names():
        params_file = folder / "usecases" / name / "params.yaml"
        params = yaml.safe_load(params_file.read_text())
        params["as_of"] = "2013-01-12T00:00:00Z"
        params["training"] |= {"holdout_days": 3}
        params["training"]["search"] |= {"n_iter": 1, "max_iter": [20]}
        params_file.write_text(yaml.safe_dump(params, sort_keys=False))
    git(folder, "init", "-q")
    return folder


def dvc(clone: Path, *command: str) -> str:
    environment = {
        **os.environ, "MLOPS_HOME": str(clone), "COLUMNS": "200",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-m", "dvc", *command], cwd=clone, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return run.stdout


@pytest.mark.long
def test_the_recipe_rebuilds_a_clone_and_then_has_nothing_to_do(clone: Path) -> None:
    first = dvc(clone, "repro")
    stages = ["ingest", "validate", "features", "assemble", "train", "evaluate"]
    for name in use_case_names():
        ran = [stage for stage in stages if f"Running stage '{stage}@{name}'" in first]
        assert ran == stages, name
    second = dvc(clone, "repro")
    assert "Running stage" not in second
    assert "up to date" in second
    gates = json.loads((clone / "data" / USE_CASE.name / "evaluation" / "gates.json").read_text())
    assert set(gates["verdicts"]) == {"logistic_regression", "gradient_boosting"}
    assert "evaluate" in dvc(clone, "dag")
    metrics = json.loads(dvc(clone, "metrics", "show", "--json"))
    file = f"data/{USE_CASE.name}/evaluation/metrics.json"
    measured = metrics[""]["data"][file]["data"]
    assert 0.5 < measured["gradient_boosting"]["auc"] < 0.9
    assert "index.html" in dvc(clone, "plots", "show")
    # Only the lock and the parameters changed above differ from the clone.
    changed = git(clone, "status", "--porcelain", "--untracked-files=all", "data", "var")
    assert all(".gitkeep" in line or ".gitignore" in line for line in changed.splitlines()), changed
