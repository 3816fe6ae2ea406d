"""The commands of release print what they did, and report a mistake with exit code 2."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from pipelines.cli import common as cli_common
from pipelines.cli.main import app
from serving.prediction_log import writer
from settings import Settings
from tests.released import served_release

Run = Callable[..., str]
ME = ("--by", "boss", "--reason", "it is right")


@pytest.fixture
def mlops(released: Settings) -> Iterator[Run]:
    """Run a command in this process, check its exit code, and return its output."""

    def run(*command: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, command)
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done.output

    # The settings set the environment of the tools for the whole process.
    with patch.dict(os.environ, {"MLOPS_HOME": str(released.home)}):
        yield run


def test_a_release_from_approval_to_rollback(mlops: Run, released: Settings) -> None:
    began = datetime.now(UTC)
    assert "approved by boss" in mlops("approve", "2", *ME, "--days", "3")
    assert "shadow 2" in mlops("challenge", "2", *ME)
    assert "canary 2 at 25 %" in mlops("challenge", "2", *ME, "--canary", "25")
    canary = datetime.now(UTC)
    assert "champion, in place of 1" in mlops("promote", "2", *ME)
    until = (began + timedelta(days=2)).isoformat()
    assert "may pass 'cost'" in mlops("override", "2", *ME, "--gate", "cost", "--until", until)
    with patch.dict(os.environ, {"MLOPS_SERVICE_URL": "http://127.0.0.1:9"}):  # a closed port
        status = mlops("status")
    assert "version 2" in status
    assert "Serving:   no answer from" in status
    assert "OVERRIDE:  version 2 passes 'cost'" in status
    assert "Approval:  version 2 by boss" in status
    assert "Version 1 is champion, in place of 2" in mlops("rollback", "--reason", "it errs")
    assert "Frozen" in mlops("freeze", "--reason", "an incident")
    assert "FROZEN" in mlops("status")

    entries = mlops("history")
    for action in ("approve", "challenge", "promote", "override", "rollback", "freeze"):
        assert action in entries
    assert "it errs" in entries
    shares = mlops("history", "--at", canary.isoformat())
    assert "version 1: 75.0%" in shares
    assert "version 2: 25.0%" in shares
    assert "8 entries" in mlops("history", "--verify")
    head = served_release(released).history.head
    assert "whole" in mlops("history", "--holds", head)
    assert "the noted entry is missing" in mlops("history", "--holds", "f" * 64, code=1)


def test_mistakes_end_with_exit_code_2(mlops: Run, released: Settings) -> None:
    assert "no version 99" in mlops("promote", "99", code=2)
    assert "never champion" in mlops("rollback", "--to", "3", "--reason", "x", code=2)
    assert "--reason" in mlops("rollback", code=2)
    assert "--by" in mlops("approve", "2", "--reason", "x", code=2)
    assert "nothing to repair" in mlops("repair", *ME, code=2)
    assert "no prediction nobody" in mlops("why", "nobody", code=2)
    gate = ("--gate", "cost")
    assert "--until is 'soon'" in mlops("override", "2", *ME, *gate, "--until", "soon", code=2)
    unknown = ("--gate", "calibrated", "--until", "2100-01-01")
    assert "'calibrated' can't be overridden" in mlops("override", "2", *ME, *unknown, code=2)
    mlops("freeze", "--reason", "an incident")
    assert "frozen" in mlops("promote", "2", code=1)
    assert served_release(released).champion.version == "1"


def test_the_kill_switch_works_without_mlflow(
    mlops: Run, released: Settings, a_free_port: Callable[[], int]
) -> None:
    mlops("challenge", "2", *ME, "--canary", "50")
    unreachable = {
        "MLOPS_TRACKING_URI": f"http://127.0.0.1:{a_free_port()}",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    with patch.dict(os.environ, unreachable):
        output = mlops("freeze", "--reason", "it errs", code=1)
        assert "services are frozen, but the freeze is not recorded yet" in output
    assert (served_release(released).frozen, served_release(released).challenger) == (True, None)
    assert "`mlops repair`" in mlops("promote", "2", code=1)
    assert "PROBLEM" in mlops("history", "--verify", code=1)
    mlops("repair", *ME)
    assert "whole" in mlops("history", "--verify")
    assert "frozen" in mlops("promote", "2", code=1)


def test_a_prediction_is_traced_to_its_features_version_data_gates_and_approval(
    mlops: Run, released: Settings
) -> None:
    mlops("approve", "1", *ME)
    now, model = datetime.now(UTC), served_release(released).champion
    log = writer.PredictionLog(released.predictions)
    log.append(
        {
            "request_id": "asked-1", "key": "case", "probability": 0.25, "decision": True,
            "model_version": "1", "model_digest": model.digest, "arm": "champion",
            "generation": served_release(released).generation, "decision_time": now,
            "features_as_of": now, "logged_at": now, "request": {"a": 1}, "features": {"b": 2.5},
        }
    )  # fmt: skip
    log.close()
    output = mlops("why", "asked-1")
    for part in (
        "probability: 0.25", "b: 2.5", "Version 1:", f"dvc_md5_training: {1:032d}",
        "beats the baseline: passed", "approve version 1", "by boss", "it is right",
    ):  # fmt: skip
        assert part in output


def test_status_without_the_champions_files_names_the_remedy(
    mlops: Run, released: Settings
) -> None:
    shutil.rmtree(released.state / "models" / "1")
    assert "Run `mlops repair`" in mlops("status")
    mlops("repair")
    assert "Run `mlops repair`" not in mlops("status")
    assert "boosting" in mlops("status")


def test_status_and_doctor_wait_briefly_for_an_mlflow_that_hangs(
    mlops: Run, released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts and never answers
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLOPS_TRACKING_URI", uri)
        with patch.object(cli_common, "WAIT_TO_READ", ("0", "1")):
            assert "Record:    MLflow at" in mlops("status")
            assert "fail  registry" in mlops("doctor", code=1)
