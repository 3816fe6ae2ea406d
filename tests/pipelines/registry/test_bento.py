"""Tests of the Bento: it holds code, version and lineage, and serves without any other service."""

import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli.main import app
from serving.models.evaluator import Evaluator, export_model
from serving.prediction_log.reader import read_predictions
from serving.release.document import Release, ServedModel, write_release
from settings import Settings
from tests.serving.in_process import example_request, small_trees
from tests.use_case import USE_CASE

ROOT = Path(__file__).parents[3]
CARD = {"candidate": "boosting", "git_commit": "c" * 40, "dvc_md5_training": "d" * 32 + ".dir"}


def home_with_a_release(home: Path) -> tuple[Settings, str]:
    settings = Settings(home=home)
    folder = settings.state / "models" / "7"
    digest = export_model(small_trees(), folder / "served")
    (folder / "card.json").write_text(json.dumps(CARD))
    champion = ServedModel("7", digest, "../models/7/served", 0.5)
    write_release(settings, Release(3, champion, datetime.now(UTC)))
    return settings, digest


def test_bento_needs_a_release_and_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    none = CliRunner().invoke(app, ["bento", str(tmp_path / "a.bento")])
    assert none.exit_code == 2
    assert "No version is released" in none.output
    home_with_a_release(tmp_path)
    (tmp_path / "a.bento").write_text("")
    taken = CliRunner().invoke(app, ["bento", str(tmp_path / "a.bento")])
    assert taken.exit_code == 2
    assert "already exists" in taken.output


@pytest.mark.long
def test_a_bento_in_an_empty_home_serves_its_packaged_version(tmp_path: Path) -> None:
    settings, digest = home_with_a_release(tmp_path / "home")
    archive, clean = tmp_path / "service.bento", tmp_path / "clean"
    subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "bento", str(archive)], cwd=ROOT, check=True,
        env=os.environ | {"MLOPS_HOME": str(settings.home)},
    )  # fmt: skip
    with tarfile.open(archive) as packed:
        bento = yaml.safe_load(packed.extractfile("./bento.yaml") or b"")
    assert (
        bento["labels"].items() >= (CARD | {"model_version": "7", "model_digest": digest}).items()
    )

    clean.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "service.log"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "MLFLOW_"))}
    environment = kept | {
        "MLOPS_USECASE": "another",
        "MLOPS_HOME": str(clean), "BENTOML_HOME": str(clean / "bentoml"),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # unreachable
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "bentoml", "import", str(archive)], cwd=clean, env=environment,
        check=True,
    )  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", bento["name"], "--port", str(port)],
            cwd=clean, stdout=output, stderr=subprocess.STDOUT,
            env=environment,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 150
        while not _is_up(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        answer = (
            httpx.post(f"{url}/predict", json=example_request(), timeout=30)
            .raise_for_status()
            .json()
        )
        ready = httpx.get(f"{url}/readyz").json()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert (answer["model_version"], answer["fallback"]) == ("7", True)
    assert "packaged version answers" in ready["problem"]
    record = read_predictions(USE_CASE, Settings(home=clean).predictions).iloc[0]
    assert record["fallback"]
    # The logged features reproduce the answer.
    features = {name.removeprefix("features."): value for name, value in record.items()
                if str(name).startswith("features.")}  # fmt: skip
    evaluator = Evaluator.load(settings.state / "models" / "7" / "served", digest)
    assert evaluator.predict([features])[0] == answer["probability"]
    started = next(line for line in log.read_text().splitlines() if "service started" in line)
    assert Path(json.loads(started)["code"]).is_relative_to(clean)  # not this checkout's code


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
