"""Files that a killed DVC leaves in a workspace do not stop the next command there."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipelines.training import dvc_stages
from settings import LoopError, Settings

STAGE = {"stages": {"copy": {"cmd": "cp given made", "deps": ["given"], "outs": ["made"]}}}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with one stage, without code and data."""
    path = tmp_path / "var" / "training" / "one"
    path.mkdir(parents=True)
    dvc_stages.init_dvc(Settings(home=tmp_path), path)
    (path / "dvc.yaml").write_text(yaml.safe_dump(STAGE))
    (path / "given").write_text("input")
    return path


@pytest.mark.parametrize("content", ["", '{"write": {"/somewh', json.dumps({"read": 1})])
def test_a_truncated_lock_is_cleared(place: Path, tmp_path: Path, content: str) -> None:
    lock = place / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    lock.write_text(content)
    (place / "dvc.lock").write_text("schema: '2.0'\nstages:\n  co")
    assert dvc_stages.run_stage(Settings(home=tmp_path), place, "copy")["ran"]
    assert (place / "made").read_text() == "input"
    assert list(yaml.safe_load((place / "dvc.lock").read_text())["stages"]) == ["copy"]


def test_a_lock_of_a_reused_pid_is_cleared(place: Path, tmp_path: Path) -> None:
    lock = place / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    killed = {"pid": os.getpid(), "cmd": "dvc repro"}  # our own pid
    lock.write_text(json.dumps({"write": {str(place / "made"): killed}, "read": {}}))
    assert dvc_stages.run_stage(Settings(home=tmp_path), place, "copy")["ran"]


def test_a_lock_of_a_running_process_is_kept(place: Path, tmp_path: Path) -> None:
    lock = place / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=place, stdin=-1) as orphan:
        held = {"pid": orphan.pid, "cmd": "dvc repro"}
        lock.write_text(json.dumps({"write": {str(place / "made"): held}, "read": {}}))
        time.sleep(0.2)
        with pytest.raises(LoopError, match="busy"):
            dvc_stages.run_stage(Settings(home=tmp_path), place, "copy")
        orphan.communicate(b"\n")
    assert dvc_stages.run_stage(Settings(home=tmp_path), place, "copy")["ran"]
