"""Killed with `kill -9` at several stages and run again, does it end as if nothing had happened?"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Home = Any  # of conftest.py


@pytest.mark.timeout(900)
def test_killed_at_any_stage_and_run_again_it_ends_in_the_same_state(
    make_home: Callable[..., Home], undisturbed: Path, tmp_path: Path
) -> None:
    home = make_home(tmp_path / "killed", measured=False)
    for told in (
        "fetch and validate",
        "train candidates",
        "cases answered",
        "an automation has started",
    ):
        home.run_until(told)
    done = home.run("run")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "cleared what a killed run left behind" in done.stdout
    assert json.loads(json.dumps(home.state())) == expected(make_home, undisturbed, tmp_path)


def expected(make_home: Callable[..., Home], undisturbed: Path, tmp_path: Path) -> Any:
    """The state after an undisturbed turn: another worker's, or one that is run here."""
    deadline = time.monotonic() + (300 if "PYTEST_XDIST_WORKER" in os.environ else 0)
    while not undisturbed.exists() and time.monotonic() < deadline:
        time.sleep(1)
    if undisturbed.exists():
        return json.loads(undisturbed.read_text())
    home = make_home(tmp_path / "undisturbed", measured=False)
    done = home.run("run")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(json.dumps(home.state()))
