"""Modules of the user's folders do not replace those of the project or of its tools."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.runtime import child_processes
from settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["settings.py", "features/__init__.py"])
def test_a_module_of_the_same_name_on_pythonpath_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("DEBUG = True")
    places = os.pathsep.join([str(tmp_path), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "status"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": places, "MLOPS_HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2, run.stderr
    assert f"would be imported from {tmp_path / name}" in run.stderr
    assert "Unset PYTHONPATH" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_file_of_the_working_folder_does_not_replace_a_library_of_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psutil.py").write_text("raise RuntimeError('a module of the working folder')")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-c", "import psutil; print(psutil.__file__)"]
    child = child_processes.start_child(Settings(home=tmp_path), "child", command, {})
    assert child.process.wait() == 0, child.log.read_text()
    assert "site-packages" in child.log.read_text()
