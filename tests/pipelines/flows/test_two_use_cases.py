"""Two use cases in one home: one MLflow, one audit of its own each, and nothing of the other."""

import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from contract import load_use_case, use_case_names
from parameters import complete_parameters
from pipelines.training import mlflow_tracking
from serving.release import document
from settings import Settings
from tests.pipelines.conftest import MLOPS
from tests.use_case import USE_CASE

Home = Any  # of conftest.py
[OTHER] = [load_use_case(name) for name in use_case_names() if name != USE_CASE.name]


def few_days() -> dict[str, Any]:
    """Return the other use case's parameters with few days, and limits for so few."""
    params = complete_parameters(OTHER, yaml.safe_load((OTHER.folder / "params.yaml").read_text()))
    params["as_of"] = "2013-02-15T00:00:00Z"
    params["turn"] |= {"traffic_days": 2, "alone_days": 0.25, "rollout_days": 4}
    params["training"] |= {"holdout_days": 6}
    params["training"]["search"] = {
        "n_iter": 1, "learning_rate": [0.05], "max_leaf_nodes": [7], "min_samples_leaf": [100],
        "max_iter": [40],
    }  # fmt: skip
    params["gates"] |= {
        "min_train": 1000, "min_holdout": 200, "min_days": 1, "min_slice": 40,
        "min_slice_compared": 40, "min_saving": -1.0, "margin_cost": 1000.0,
        "margin_log_loss": 0.5, "margin_slice_cost": 5000.0, "margin_slice_proof": 5000.0,
        "max_calibration_gap": 0.4, "max_slice_calibration_gap": 0.6, "max_slice_ratio": 5.0,
        "max_error_excess": 0.9, "max_auc": 1.0, "max_column_auc": 1.0, "max_value_rate": 1.0,
        "rain_raises": 0.0,
    }  # fmt: skip
    params["gates"]["sources"]["recomputed_moments"] = 2
    params["gates"]["artefact"] |= {"max_score_distance": 0.5, "max_latency_ms": 1000.0}
    params["rollout"]["shadow"] |= {
        "days": 1, "min_labels": 40, "day_labels": 40, "margin_cost": 3000.0, "min_coverage": 0.5,
        "label_hours": 0,
    }  # fmt: skip
    params["rollout"]["canary"] |= {"min_requests": 5, "percent": 40}
    params["rollout"]["harm"] |= {"max_moved": 0.6, "min_requests": 5}
    params["monitoring"]["min_coverage"] = 0.5
    params["monitoring"]["policy"] |= {"every_days": 2, "cool_down_days": 1, "min_labelled": 50}
    return params


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_second_use_case_turns_beside_the_first(
    turned: tuple[Home, str], make_home: Any, tmp_path: Path
) -> None:
    home = make_home(tmp_path / "fresh")
    shutil.rmtree(home.settings.home)
    shutil.copytree(turned[0].settings.home, home.settings.home, symlinks=True)
    before = home.state()
    other = make_home(tmp_path / "ports").settings
    other = Settings(**{**other.model_dump(), "home": home.settings.home, "usecase": OTHER.name})
    other.params_file.parent.mkdir(parents=True)
    other.params_file.write_text(yaml.safe_dump(few_days()))
    environment = home.environment() | {
        "MLOPS_USECASE": OTHER.name, "MLOPS_PREFECT_PORT": str(other.prefect_port),
        "MLOPS_SERVICE_PORT": str(other.service_port),
    }  # fmt: skip
    # The first one's service answers on while the other turns.
    serve = subprocess.Popen(
        [*MLOPS, "serve"], cwd=home.settings.home, env=home.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stop, answers = threading.Event(), []

    def ask() -> None:
        while not stop.wait(0.5):
            try:
                answers.append(httpx.get(f"{home.settings.service_url}/readyz").status_code)
            except httpx.TransportError:
                answers.append(0)  # it starts

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        done = subprocess.run(
            [*MLOPS, "run"], cwd=home.settings.home, env=environment, text=True,
            capture_output=True, timeout=1200, check=False,
        )  # fmt: skip
    finally:
        stop.set()
        asking.join()
        serve.terminate()
        serve.wait(30)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "retrain: yes" in done.stdout
    assert set(answers[answers.index(200) :]) == {200}
    assert home.state() == before
    release = document.read_release(other)
    assert release is not None
    client = mlflow_tracking.mlflow_client(other)
    models = {each.name: each for each in client.search_registered_models()}
    assert set(models) == {USE_CASE.name, OTHER.name}
    assert str(models[OTHER.name].aliases["champion"]) == release.champion.version
    own = {path.name for path in home.settings.var.glob("usecases/*")}
    assert own == {USE_CASE.name, OTHER.name}
    for name in (USE_CASE.name, OTHER.name):
        verified = subprocess.run(
            [*MLOPS, "history", "--verify"], cwd=home.settings.home, text=True,
            env=home.environment() | {"MLOPS_USECASE": name}, capture_output=True, check=False,
        )  # fmt: skip
        assert verified.returncode == 0, verified.stdout + verified.stderr
