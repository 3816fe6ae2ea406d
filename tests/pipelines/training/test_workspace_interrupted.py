"""What a DVC that was killed leaves in a workspace does not stop the next command there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipelines.training import workspace
from settings import LoopError, Settings

STAGE = {"stages": {"copy": {"cmd": "cp given made", "deps": ["given"], "outs": ["made"]}}}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with one stage, made without its code and data."""
    path = tmp_path / "var" / "training" / "one"
    path.mkdir(parents=True)
    workspace._init_dvc(Settings(home=tmp_path), path)
    (path / "dvc.yaml").write_text(yaml.safe_dump(STAGE))
    (path / "given").write_text("what it is given")
    return path


@pytest.mark.parametrize("left", ["", '{"write": {"/somewh', json.dumps({"read": 1})])
def test_a_lock_that_was_cut_short_is_cleared(place: Path, tmp_path: Path, left: str) -> None:
    lock = place / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    lock.write_text(left)
    (place / "dvc.lock").write_text("schema: '2.0'\nstages:\n  co")
    assert workspace.run_stage(Settings(home=tmp_path), place, "copy")["ran"]
    assert (place / "made").read_text() == "what it is given"
    assert list(yaml.safe_load((place / "dvc.lock").read_text())["stages"]) == ["copy"]


def test_a_lock_that_names_a_process_which_is_another_now_is_cleared(
    place: Path, tmp_path: Path
) -> None:
    lock = place / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    killed = {"pid": os.getpid(), "cmd": "dvc repro"}  # its number was given to us
    lock.write_text(json.dumps({"write": {str(place / "made"): killed}, "read": {}}))
    assert workspace.run_stage(Settings(home=tmp_path), place, "copy")["ran"]


def test_a_lock_is_left_to_a_process_that_works_there(place: Path, tmp_path: Path) -> None:
    lock = place / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=place, stdin=-1) as orphan:
        held = {"pid": orphan.pid, "cmd": "dvc repro"}
        lock.write_text(json.dumps({"write": {str(place / "made"): held}, "read": {}}))
        time.sleep(0.2)
        with pytest.raises(LoopError, match="busy"):
            workspace.run_stage(Settings(home=tmp_path), place, "copy")
        orphan.communicate(b"\n")
    assert workspace.run_stage(Settings(home=tmp_path), place, "copy")["ran"]
