"""The scripts that `make` starts outside the containers run with the system's Python 3."""

import ast
import sys
from pathlib import Path

import pytest

import pipelines.stack

FOLDER = Path(pipelines.stack.__file__).parent
HOST_SCRIPTS = ("addresses", "backup", "backup_folder", "docker_engine", "env", "keys", "restore")
SHARED = FOLDER.parent / "runtime" / "interrupts.py"


@pytest.mark.parametrize("script", [*(FOLDER / f"{name}.py" for name in HOST_SCRIPTS), SHARED])
def test_a_script_needs_no_package_and_no_new_python(script: Path) -> None:
    """macOS has Python 3.9, which can't evaluate an annotation such as `Path | None`."""
    tree = ast.parse(script.read_text(), feature_version=(3, 9))
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree) if isinstance(node, ast.Import)
        for alias in node.names
    }  # fmt: skip
    modules = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported |= {str(node.module).split(".")[0] for node in modules}
    assert imported <= {*sys.stdlib_module_names, "pipelines"}
    assert "__future__" in imported, "its annotations are evaluated"
