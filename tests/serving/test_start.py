"""A service that can't start says why once, and ends: it does not start again and again."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.command import serve_command, serve_environment
from settings import Settings

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]
SERVE = [sys.executable, "-m", "pipelines.cli.main", "serve"]


def malformed_tokens(home: Path) -> dict[str, str]:
    (home / "tokens").write_text("predict not-a-digest shop\n")
    return {"MLOPS_TOKENS_FILE": str(home / "tokens")}


def no_folder_for_the_log(home: Path) -> dict[str, str]:
    (home / "log").write_text("a file")
    return {"MLOPS_PREDICTION_LOG": str(home / "log")}


REFUSED: list[tuple[Callable[[Path], dict[str, str]], str]] = [
    (lambda home: {"MLOPS_TOKENS_FILE": str(home / "missing")}, "token file can't be read"),
    (lambda home: {"MLOPS_TOKENS_FILE": str(home)}, "token file can't be read"),
    (malformed_tokens, "Line 1 of the tokens is malformed"),
    (lambda _: {"MLOPS_SERVICE_HOST": "0.0.0.0"}, "without a token"),  # noqa: S104
    (lambda _: {"MLOPS_SERVICE_HOST": "localhost"}, "MLOPS_SERVICE_HOST"),
    (lambda _: {"MLOPS_REDIS": "redis:6379,secret"}, "MLOPS_REDIS"),
    (lambda _: {"MLOPS_REQUESTS_AT_ONCE": "many"}, "MLOPS_REQUESTS_AT_ONCE"),
    (lambda home: {"MLOPS_HOME": str(home / "missing")}, "MLOPS_HOME"),
    (no_folder_for_the_log, "folder of the prediction log"),
]


def run(
    command: list[str] | None, home: Path, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run `command` (by default that of the service) in `home` until it ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = Settings(home=home, service_port=free.getsockname()[1])
    environment = os.environ | serve_environment(settings) | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command or serve_command(settings), cwd=home, env=environment | variables,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("variables", "text"), REFUSED)
def test_what_no_start_could_mend_is_refused_at_once(
    variables: Callable[[Path], dict[str, str]], text: str, tmp_path: Path
) -> None:
    done = run(SERVE, tmp_path, **variables(tmp_path))
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: ") == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "missing").exists()


def test_bentoml_refuses_the_same_without_mlops(tmp_path: Path) -> None:
    done = run(None, tmp_path, **malformed_tokens(tmp_path))
    assert (done.returncode, done.stderr.count("error: ")) == (2, 1)
    assert "Line 1 of the tokens is malformed" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_worker_that_cannot_start_ends_the_service(tmp_path: Path) -> None:
    """Only the worker reads Feast's configuration."""
    done = run(None, tmp_path, MLOPS_FEAST_ONLINE="{")
    assert done.returncode == 1
    assert done.stderr.count("service can't start") == 1
