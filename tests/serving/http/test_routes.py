"""Readiness: a service whose log can't be synced is not ready."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
# A pipe accepts writes but can't be synced: it simulates a broken disk.
UNSYNCABLE = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from serving.prediction_log.writer import PredictionLog
from serving.errors import Refusal
from serving.http import routes

log = PredictionLog(Path(sys.argv[1]), sync_every=0.002)
release = SimpleNamespace(champion=SimpleNamespace(version="1"), generation=1)
models = SimpleNamespace(current=SimpleNamespace(release=release), problem=None)
parts = SimpleNamespace(models=models, log=log)
print(routes.ready(parts, None))
reading, writing = os.pipe()
os.dup2(writing, log._file)
log.append({"request_id": "1"})
while log.failure is None:
    time.sleep(0.005)
try:
    routes.ready(parts, None)
except Refusal as error:
    print(error.status, error.detail)
"""


def test_a_log_that_cannot_be_synced_makes_the_service_unready(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNSYNCABLE, str(tmp_path)], cwd=ROOT,
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    ready, unready = done.stdout.strip().split("\n")
    assert ready == str({"ready": True, "version": "1", "generation": 1, "problem": None})
    assert unready.startswith("503 The prediction log")
    assert "could not be synced" in unready
    assert unready.endswith("[log_not_synced] Remedy: docker compose restart api")
