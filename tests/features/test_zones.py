"""Data, features and answers are the same in every time zone, across changes of summer time."""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run_in_zone(home: Path, zone: str) -> dict[str, Any]:
    """Return the digests and answers of `tests.zoned` in this zone."""
    names = {
        name: value for name, value in os.environ.items() if not name.startswith("MLOPS_")
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.zoned", str(home)], cwd=ROOT, text=True, capture_output=True,
        env=names | {"TZ": zone, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.timeout(900)
def test_a_slice_is_the_same_in_every_zone(tmp_path: Path) -> None:
    expected = run_in_zone(tmp_path / "utc", "UTC")
    for window in expected.values():
        assert len(window["answers"]) >= 12
        for answer in window["answers"]:
            at, decided = (
                datetime.fromisoformat(answer[name]) for name in ("features_as_of", "decision_time")
            )
            assert not answer["degraded"]
            assert 0 <= (decided - at).total_seconds() <= 2 * 3600
    for zone in ("Europe/Berlin", "America/New_York"):
        found = run_in_zone(tmp_path / zone, zone)
        for first, window in found.items():
            for what, of_window in window.items():
                assert of_window == expected[first][what], f"{what} from {first} in {zone}"
