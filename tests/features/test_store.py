"""Is the version of the definitions a matter of what they say, and of nothing else?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASK = "from features.store import definitions_version as version; print(version())"


def version(code: Path) -> str:
    """As the code in this folder has it, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK], cwd=code, check=True, text=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(code)},
    )  # fmt: skip
    return run.stdout.strip()


def test_it_is_the_same_in_every_folder_and_differs_with_a_definition(tmp_path: Path):
    copy = tmp_path / "copy"
    for name in ("features", "usecase"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "settings.py", copy)
    assert version(copy) == version(ROOT)
    views = copy / "usecase" / "feature_views.py"
    views.write_text(views.read_text().replace("timedelta(hours=1)", "timedelta(hours=2)"))
    assert version(copy) != version(ROOT)
