"""Tests of the rollout with the real service: harm is stopped within a few requests."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from pipelines.registry.version_files import sign_files
from pipelines.release import promotion, rollout_controller
from pipelines.runtime import child_processes, server_health
from pipelines.training import mlflow_tracking
from serving.command import serve_command, serve_environment
from serving.models import evaluator
from settings import Settings
from tests.released import make_registry
from tests.serving.in_process import example_request
from tests.use_case import CATEGORIES, FEATURES, USE_CASE

ROOT = Path(__file__).parents[3]
NUMBERS = [name for name in FEATURES if name not in CATEGORIES]
APPLY = (
    "import settings; from features.feast_store import apply_definitions;"
    "apply_definitions(settings.load_settings())"
)
ME = {"by": "me", "why": "a test"}
MAX_REQUESTS = 60  # that reach the challenger until harm is stopped
# Versions 1 to 3 of the registry need columns that the feature store does not have.
CHAMPION, SHIFTED, SLOW, NOT_LOADABLE = "4", "5", "6", "2"


def fit_model(model: Any, rate: float) -> Pipeline:
    """Fit `model` on random numbers, one per numeric feature, with this rate of positive labels."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(300, len(NUMBERS))), columns=NUMBERS)
    encode = ColumnTransformer([("numbers", SimpleImputer(keep_empty_features=True), NUMBERS)])
    if isinstance(model, HistGradientBoostingClassifier):
        encode = ColumnTransformer([("numbers", "passthrough", NUMBERS)])
    pipeline = Pipeline([("encode", encode), ("model", model)])
    return pipeline.fit(frame[NUMBERS], (rng.random(300) < rate).astype(int))


def add_version(settings: Settings, version: str, model: Pipeline) -> None:
    made = settings.home / "made" / version
    digest = evaluator.export_model(model, made / "served")
    pd.DataFrame({"a": [0.0]}).to_parquet(made / "reference.parquet")
    (made / "facts.json").write_text(json.dumps({"candidate": version, "digest": digest}))
    sign_files(settings, made, digest)
    client = mlflow_tracking.mlflow_client(settings)
    with mlflow_tracking.start_run(settings, f"refit {version}", {"training_id": version}) as run:
        client.log_artifacts(run.info.run_id, str(made))
    client.create_model_version(
        USE_CASE.name,
        f"runs:/{run.info.run_id}/served",
        run.info.run_id,
        tags={"digest": digest},
    )


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, a_free_port: Callable[[], int]
) -> Iterator[Settings]:
    """A home with a running service, and a registry with a champion and challengers."""
    home = tmp_path_factory.mktemp("served") / "home"
    make_registry(home)
    settings = Settings(home=home, service_port=a_free_port())
    params = settings.params()
    params["rollout"]["harm"] |= {"min_requests": 30, "max_slower_ms": 1.0}
    settings.params_file.write_text(yaml.safe_dump(params))
    boosting = HistGradientBoostingClassifier(max_iter=3)
    add_version(settings, CHAMPION, fit_model(boosting, 0.3))
    add_version(settings, SHIFTED, fit_model(boosting, 0.95))
    add_version(settings, SLOW, fit_model(LogisticRegression(), 0.3))
    environment = os.environ | serve_environment(settings)
    subprocess.run([sys.executable, "-c", APPLY], cwd=ROOT, env=environment, check=True)
    promotion.promote(settings, CHAMPION, **ME)
    child = child_processes.start_child(
        settings, "service", serve_command(settings), serve_environment(settings)
    )
    try:
        server_health.wait_until_healthy(child, f"{settings.service_url}/readyz", 90)
        yield settings
    finally:
        child_processes.stop_children(settings)
        shutil.rmtree(home, ignore_errors=True)


def send_requests(settings: Settings, requests: int) -> datetime:
    """Wait for the service to load the release, then send `requests` different requests.

    Return their decision time.
    """
    wanted = rollout_controller.recover_and_read_release(settings).document.generation
    body = example_request()
    [whole] = [name for name, value in body.items() if type(value) is int]
    when = next(name for name, value in body.items() if str(value).endswith("Z"))
    with httpx.Client(base_url=settings.service_url, timeout=10) as client:
        deadline = time.monotonic() + 90  # it imports a library to load the slow one
        while client.get("/release").json()["generation"] != wanted:
            assert time.monotonic() < deadline, client.get("/release").text
            time.sleep(0.05)
        for number in range(requests):
            answer = client.post("/predict", json={**body, whole: 1 + number})
            assert answer.status_code == 200, answer.text
    return datetime.fromisoformat(body[when])


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("version", "cause", "stage"),
    [
        (SHIFTED, "scores", "canary"), (SLOW, "slow", "shadow"), (SLOW, "slow", "canary"),
        (NOT_LOADABLE, "errors", "shadow"), (NOT_LOADABLE, "errors", "canary"),
    ],
)  # fmt: skip
def test_harm_is_stopped_early_and_every_request_is_answered(
    served: Settings, version: str, cause: str, stage: Any
) -> None:
    percent = 0.0 if stage == "shadow" else 60.0
    promotion.challenge(served, version, stage, percent, again=True, **ME)
    as_of = send_requests(served, 40 if stage == "shadow" else 80)
    found = rollout_controller.control_rollout(served, as_of, live=True)
    assert (found["action"], found["code"], found["stage"]) == ("withdraw", cause, stage)
    assert found["evidence"]["requests"] <= MAX_REQUESTS
    assert rollout_controller.rollout_challenger(served) is None
