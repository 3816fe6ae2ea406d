"""The targets of the stack ignore variables that another project has exported."""

import os
import shutil
import subprocess
from pathlib import Path

from pipelines.stack import env

ROOT = Path(__file__).parents[3]
FOREIGN = [
    *env.EMPTY_VARIABLE.findall((ROOT / ".env.example").read_text()),
    "COMPOSE_ENV_FILES", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME",
]  # fmt: skip


def test_compose_gets_secrets_project_and_files_from_this_folder_alone(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\nenv > "{tmp_path}/environment"\necho "$@" > "{tmp_path}/asked"\n'
    )
    docker.chmod(0o755)
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    environment = {
        **os.environ, **dict.fromkeys(FOREIGN, "other"), "MLOPS_SERVICE_PORT": "3456",
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    subprocess.run(["make", "clean-stack", "FORCE=1"], cwd=tmp_path, env=environment, check=True)
    assert "down --remove-orphans --volumes" in (tmp_path / "asked").read_text()
    given = dict(
        line.partition("=")[::2] for line in (tmp_path / "environment").read_text().splitlines()
    )
    assert not given.keys() & set(FOREIGN)
    assert given["MLOPS_SERVICE_PORT"] == "3456"
