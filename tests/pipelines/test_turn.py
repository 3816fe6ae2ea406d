"""Does the loop turn, once, from one command, and end the same whatever kills it on the way?

Every process is real: the command, Prefect's server and runner, the service. A slice of real days.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import tracking, training, workspace
from pipelines.register import MODEL
from serving import prediction_log, release
from serving.evaluator import Evaluator
from settings import Settings

ROOT = Path(__file__).parents[2]
MLOPS = [sys.executable, "-m", "pipelines.cli"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Home:
    """A project of its own: parameters of a small slice, nothing else; runs `mlops` in it."""

    def __init__(self, path: Path, *, measured: bool = True) -> None:
        self.measured = measured  # by coverage, which costs half as much again
        self.settings = Settings(home=path, prefect_port=free_port(), service_port=free_port())
        params = yaml.safe_load((ROOT / "usecase" / "params.yaml").read_text())
        params["as_of"] = "2013-01-19T00:00:00Z"
        params["turn"]["traffic_days"] = 2
        params["training"] |= {"holdout_days": 5, "folds": 2}
        params["training"]["search"] |= {"n_iter": 2, "max_iter": [40]}
        # A slice has too few days for the shipped limits, and its weeks differ more than months.
        params["gates"] |= {
            "min_train": 5000, "min_holdout": 300, "min_slice": 50, "max_calibration_gap": 0.25,
            "margin_cost": 200.0, "margin_log_loss": 0.2, "min_saving": -0.5,
            "max_slice_ratio": 3.0, "storm_raises": 0.0, "calm_lowers": -0.1,
        }  # fmt: skip
        # Two turns may share the cores with other tests: speed is judged elsewhere.
        params["gates"]["artefact"] |= {"max_score_distance": 0.3, "max_latency_ms": 1000.0}
        params["monitoring"]["min_coverage"] = 0.5  # half of two days' labels are still to come
        params["monitoring"]["policy"] |= {"every_days": 2, "cool_down_days": 1}
        params["monitoring"]["policy"]["min_labelled"] = 100
        target = path / "usecase" / "params.yaml"
        target.parent.mkdir(parents=True)
        target.write_text(yaml.safe_dump(params))

    def environment(self) -> dict[str, str]:
        names = {
            name: value for name, value in os.environ.items() if not name.startswith("PREFECT")
        }
        return {
            **names,
            "MLOPS_HOME": str(self.settings.home),
            "MLOPS_PREFECT_PORT": str(self.settings.prefect_port),
            "MLOPS_SERVICE_PORT": str(self.settings.service_port),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "hosts"), str(ROOT)]),
            "LOOKED_UP": str(self.settings.home / "looked_up"),
            "COLUMNS": "200",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MLOPS, *command], cwd=self.settings.home, env=self.environment(), text=True,
            capture_output=True, timeout=280, check=False,
        )  # fmt: skip

    def run_until(self, told: str) -> None:
        """Runs the turn until it has told `told`, and kills the command there and then."""
        with subprocess.Popen(
            [*MLOPS, "run"], cwd=self.settings.home, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if told in line:
                    break
            else:
                raise AssertionError(f"never told {told!r}: {''.join(lines)[-3000:]}")
            time.sleep(1.0)  # into the middle of what it has just announced
            process.send_signal(signal.SIGKILL)

    def state(self) -> dict[str, Any]:
        """All that must be the same after any history of kills."""
        client = tracking.client(self.settings)
        versions = sorted(
            client.search_model_versions(f"name = '{MODEL}'"), key=lambda v: v.version
        )
        experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
        running = client.search_runs(
            [experiment.experiment_id], filter_string="attributes.status = 'RUNNING'"
        )
        served = release.read(self.settings.release_file)
        assert served is not None
        log = prediction_log.read(self.settings.var / "log" / "predictions")
        return {
            "versions": [
                (str(v.version), v.tags["digest"], v.tags["dvc_md5_training"]) for v in versions
            ],
            "champion": str(client.get_registered_model(MODEL).aliases["champion"]),
            "running": len(running),
            "served": (served.champion.version, served.champion.digest),
            "predictions": sorted(log["key"]),
            "probabilities": log.sort_values("key")["probability"].round(12).tolist(),
            "outcomes": [(o["as_of"], o["version"]) for o in training.outcomes(self.settings)],
        }


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str]:
    home = Home(tmp_path_factory.mktemp("turned"))
    done = home.run("run")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return home, done.stdout


def test_a_turn_covers_the_seven_components_and_closes_the_loop(turned: tuple[Home, str]) -> None:
    home, told = turned
    for component in range(1, 8):
        assert f"\n{component} " in told
    state = home.state()
    assert [version for version, _, _ in state["versions"]] == ["1", "2"]
    assert len(state["outcomes"]) == 2, "the event must have started a second training"
    assert state["champion"] == "2"
    assert "retrain: yes" in told
    assert state["running"] == 0
    assert len(state["predictions"]) == len(set(state["predictions"])) > 1400
    assert state["champion"] == state["served"][0]


def test_no_host_but_this_machine_is_looked_up(turned: tuple[Home, str]) -> None:
    home, _ = turned
    looked_up = set((home.settings.home / "looked_up").read_text().split())
    own = {"127.0.0.1", "localhost", "0.0.0.0", "::1", "::", "None", socket.gethostname()}  # noqa: S104
    assert looked_up & own, "the recorder must have heard something"
    assert looked_up <= own


def test_a_rerun_repeats_nothing_and_another_beside_it_is_turned_away(
    turned: tuple[Home, str],
) -> None:
    home, _ = turned
    before = home.state()
    files = {path: path.stat().st_mtime_ns for path in (home.settings.data).rglob("*.parquet")}
    with subprocess.Popen(
        [*MLOPS, "run"], cwd=home.settings.home, env=home.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as again:  # fmt: skip
        assert again.stdout is not None
        told = [next(line for line in again.stdout if "Prefect" in line)]
        beside = home.run("run")
        told += again.stdout.readlines()
    assert again.returncode == 0, "".join(told)
    assert any("0 asked now" in line for line in told)
    assert home.state() == before
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert beside.returncode == 2
    assert f"pid {again.pid}" in beside.stderr
    assert "Traceback" not in beside.stderr


def test_the_md5_on_a_version_gives_its_training_set_back(
    turned: tuple[Home, str], tmp_path: Path
) -> None:
    home, _ = turned
    for version, _, md5 in home.state()["versions"]:
        found = tracking.client(home.settings).get_model_version(MODEL, version)
        made = home.settings.var / "training" / found.tags["training_id"] / "data" / "training"
        target = tmp_path / version
        done = home.run("restore", md5, str(target))
        assert done.returncode == 0, done.stderr
        for part in ("training.parquet", "manifest.json"):
            assert (target / part).read_bytes() == (made / part).read_bytes()


def test_what_is_served_is_what_was_registered(turned: tuple[Home, str]) -> None:
    home, _ = turned
    served = release.read(home.settings.release_file)
    assert served is not None
    version = tracking.client(home.settings).get_model_version(MODEL, served.champion.version)
    assert version.tags["digest"] == served.champion.digest
    assert "Model card" in version.description
    Evaluator.load(Path(served.champion.path), served.champion.digest)


def test_every_candidate_is_a_run_with_its_lineage(turned: tuple[Home, str]) -> None:
    home, _ = turned
    client = tracking.client(home.settings)
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    named = {run.data.tags.get("candidate") for run in runs}
    assert {"baseline", "logistic_regression", "gradient_boosting"} <= named
    for run in runs:
        for tag in ("dvc_md5_training", "git_commit", "lock_sha256", "seed", "training_id"):
            assert run.data.tags[tag] not in ("", "none"), (run.info.run_name, tag)
        assert run.data.tags["feast_registry_version"]
        if "refit" not in run.data.tags:
            assert run.data.metrics["auc"] > 0.5


def test_the_parts_tell_where_things_stand(turned: tuple[Home, str]) -> None:
    home, _ = turned
    status = home.run("status")
    assert status.returncode == 0
    assert "Champion:  version" in status.stdout
    assert "Decision:  retrain yes" in status.stdout
    assert "of the features moved beyond their limit" in status.stdout
    gate = home.run("gate")
    assert gate.returncode == 0
    assert "beats the baseline" in gate.stdout
    stale = home.run("train", "--as-of", "2013-01-20")
    assert stale.returncode == 2
    assert "knows all data up to 2013-01-21" in stale.stderr
    monitor = home.run("monitor", "--as-of", "2013-01-21")
    assert monitor.returncode == 0
    assert "Retrain: yes" in monitor.stdout


def test_new_batches_during_a_training_change_nothing_in_it(turned: tuple[Home, str]) -> None:
    home, _ = turned
    settings = home.settings
    path = next(iter((settings.var / "training").glob("20130119*")))
    before = json.loads((path / "data" / "training" / "manifest.json").read_text())
    # Batches of later days are in the project since, and the workspace has none of them.
    assert max(settings.data.glob("validated/*/2013-01-2*.parquet"))
    assert not list(path.glob("data/validated/*/2013-01-19.parquet"))
    md5s = workspace.record(settings, path)
    for stage in workspace.stages(path):
        assert workspace.run_stage(settings, path, stage)["ran"] is False
    assert workspace.record(settings, path) == md5s
    assert json.loads((path / "data" / "training" / "manifest.json").read_text()) == before


@pytest.mark.timeout(560)
def test_killed_at_any_stage_and_run_again_it_ends_in_the_same_state(
    turned: tuple[Home, str], tmp_path: Path
) -> None:
    home = Home(tmp_path / "killed", measured=False)
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
    assert home.state() == turned[0].state()
