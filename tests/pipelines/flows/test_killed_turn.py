"""A turn that is killed at several stages and run again ends in the same state."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Home = Any  # of conftest.py


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_at_any_stage_and_run_again_it_ends_in_the_same_state(
    make_home: Callable[..., Home], tmp_path: Path
) -> None:
    home = make_home(tmp_path / "killed", measured=False)
    for line in (
        "fetch and validate",
        "train candidates",
        "cases answered",
        "an automation has started",
        "is in the canary",
    ):
        home.run_until(line)
    done = home.run("run")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "ended a process of a killed run" in done.stdout
    assert json.loads(json.dumps(home.state())) == undisturbed(
        make_home(tmp_path / "undisturbed", measured=False)
    )


def undisturbed(home: Home) -> Any:
    """Return the state after a turn without a kill."""
    done = home.run("run")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(json.dumps(home.state()))
