"""Fixtures with a separate project for tests that run the whole command: `Home`."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipelines.proofs import base_training
from pipelines.release import promotion as releases
from pipelines.training import mlflow_tracking, training_outcome
from serving.prediction_log import reader
from serving.release import document
from settings import Settings
from tests import slice_params
from tests.released import make_registry
from tests.use_case import USE_CASE

ROOT = Path(__file__).parents[2]
MLOPS = [sys.executable, "-m", "pipelines.cli.main"]


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Home:
    """A separate project with the parameters of a small slice; runs `mlops` in it."""

    mlops = MLOPS

    def __init__(self, path: Path, *, measured: bool = True) -> None:
        self.measured = measured  # by coverage; off for turns that repeat another's work
        self.settings = Settings(home=path, prefect_port=free_port(), service_port=free_port())
        self.settings.params_file.parent.mkdir(parents=True)
        self.settings.params_file.write_text(yaml.safe_dump(slice_params.slice_params()))

    def environment(self) -> dict[str, str]:
        names = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("PREFECT", *([] if self.measured else ["COVERAGE"])))
        }  # fmt: skip
        return {
            **names,
            "MLOPS_HOME": str(self.settings.home),
            "MLOPS_PREFECT_PORT": str(self.settings.prefect_port),
            "MLOPS_SERVICE_PORT": str(self.settings.service_port),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "startup"), str(ROOT)]),
            "LOOKED_UP": str(self.settings.home / "looked_up"),
            "COLUMNS": "200",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MLOPS, *command], cwd=self.settings.home, env=self.environment(), text=True,
            capture_output=True, timeout=1200, check=False,
        )  # fmt: skip

    @staticmethod
    def heed_ctrl_c() -> None:
        """Restore SIGINT in a child: a test run in the background ignores it."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def processes(self) -> list[psutil.Process]:
        """Return all live processes that were started in this home."""
        home = str(self.settings.home)
        alive = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                of_home = process.environ().get("MLOPS_HOME") == home
                if of_home and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        return alive

    def run_until(self, text: str) -> None:
        """Run the turn until it prints `text`, then kill the command."""
        with subprocess.Popen(
            [*MLOPS, "run"], cwd=self.settings.home, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if text in line:
                    break
            else:
                raise AssertionError(f"never printed {text!r}: {''.join(lines)[-3000:]}")
            time.sleep(1.0)  # until the announced step is under way
            process.send_signal(signal.SIGKILL)

    def state(self) -> dict[str, Any]:
        """Return what must be the same after any number of kills."""
        client = mlflow_tracking.mlflow_client(self.settings)
        versions = sorted(
            client.search_model_versions(f"name = '{USE_CASE.name}'"), key=lambda v: v.version
        )
        experiment = client.get_experiment_by_name(USE_CASE.name)
        running = client.search_runs(
            [experiment.experiment_id], filter_string="attributes.status = 'RUNNING'"
        )
        served = document.read_release(self.settings)
        assert served is not None
        log = reader.read_predictions(USE_CASE, self.settings.predictions)
        return {
            "versions": [
                (str(v.version), v.tags["digest"], v.tags["dvc_md5_training"]) for v in versions
            ],
            "champion": str(client.get_registered_model(USE_CASE.name).aliases["champion"]),
            "running": len(running),
            "served": (served.champion.version, served.champion.digest),
            "predictions": sorted(log["key"]),
            "probabilities": log.sort_values("key")["probability"].round(12).tolist(),
            "outcomes": [
                (o["as_of"], o["version"]) for o in training_outcome.list_outcomes(self.settings)
            ],
        }


@pytest.fixture(scope="session")
def make_home() -> Callable[..., Home]:
    return Home


@pytest.fixture(scope="session")
def a_free_port() -> Callable[[], int]:
    return free_port


@pytest.fixture(scope="session")
def turned(
    tmp_path_factory: pytest.TempPathFactory, make_home: Callable[..., Home]
) -> tuple[Home, str]:
    """A home after one turn of the loop, and the turn's output."""
    home = make_home(tmp_path_factory.mktemp("turned"))
    done = home.run("run")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return home, done.stdout


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three versions, of which 1 is champion. Copy it; do not change it."""
    settings = make_registry(tmp_path_factory.mktemp("made") / "home")
    releases.promote(settings, "1", by="me", why="the first")
    return settings


@pytest.fixture
def released(registry: Settings, tmp_path: Path) -> Settings:
    """A copy of `registry` for one test."""
    return Settings(home=shutil.copytree(registry.home, tmp_path / "home"))


@pytest.fixture(scope="module")
def slice_of_days(tmp_path_factory: pytest.TempPathFactory) -> base_training.BaseTraining:
    """A base training of a few days; one per test file, since proofs add files to it."""
    settings = Settings(home=tmp_path_factory.mktemp("prove"))
    settings.params_file.parent.mkdir(parents=True)
    settings.params_file.write_text(yaml.safe_dump(slice_params.slice_params()))
    return base_training.open_base_training(settings)
