"""The command answers at once, and reports a user's mistake in one message with exit code 2."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.main import get_command

from contract import use_case_names
from pipelines.cli.common import LoopGroup
from pipelines.cli.main import GROUPS, app
from pipelines.operations import package_checks
from settings import Settings
from tests.use_case import copy_params

ROOT = Path(__file__).parents[3]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return copy_params(Settings(home=tmp_path)).home


@pytest.fixture
def mlops(home: Path) -> Run:
    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ, "MLOPS_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "160",
            **variables,
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli.main", *command], cwd=home, env=environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def assert_error(done: subprocess.CompletedProcess[str], *texts: str, code: int = 2) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(re.findall(r"^error(?: \[\w+\])?: ", done.stderr, re.MULTILINE)) == 1
    for text in texts:
        assert text in done.stderr


def test_help_lists_the_groups_without_importing_a_tool(mlops: Run) -> None:
    done = mlops("--help")
    for part in (
        "run", "ingest", "features", "train", "gate", "serve", "monitor", "compact", "status",
        "doctor", "ui", "deploy", "restore",
    ):  # fmt: skip
        assert f" {part} " in done.stdout
    groups = [title for title, _ in GROUPS]
    assert sorted(groups, key=done.stdout.index) == groups
    heavy = (
        "import sys, pipelines.cli.main; print([m for m in sys.modules if m in {tools}])".replace(
            "{tools}", "('pandas', 'prefect', 'mlflow', 'feast', 'sklearn', 'pydantic', 'dvc')"
        )
    )
    loaded = subprocess.run(
        [sys.executable, "-c", heavy], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_every_command_reports_errors() -> None:
    root = get_command(app)
    assert isinstance(root, LoopGroup)
    commands = list(root.commands.values())
    nested = [each for command in commands for each in getattr(command, "commands", {}).values()]
    leaves = [each for each in (*commands, *nested) if not hasattr(each, "commands")]
    assert len(leaves) > 40


@pytest.mark.parametrize("command", ["ingest", "features", "train", "monitor", "log expire"])
def test_an_unknown_date(mlops: Run, command: str) -> None:
    assert_error(
        mlops(*command.split(), "--as-of", "2025-02-30"), "as_of is '2025-02-30'", "2025-04-01"
    )


def test_no_parameters(mlops: Run, home: Path) -> None:
    Settings(home=home).params_file.unlink()
    assert_error(mlops("run"), "No parameters at", "MLOPS_HOME")


@pytest.mark.parametrize(
    ("text", "error"), [("as_of: [", "not valid YAML"), ("- a list", "must hold a mapping")]
)
def test_malformed_parameters(mlops: Run, home: Path, text: str, error: str) -> None:
    Settings(home=home).params_file.write_text(text)
    assert_error(mlops("run"), error, "params.yaml")


def test_parameters_without_a_section(mlops: Run, home: Path) -> None:
    Settings(home=home).params_file.write_text("as_of: 2013-04-01\n")
    missing = "costs.miss, gates.max_auc, gates.max_column_auc: missing. State"
    assert_error(mlops("run"), str(Settings(home=home).params_file), missing)


def test_the_option_chooses_the_use_case(mlops: Run, home: Path) -> None:
    """Each use case has parameters of its own; the home has only those of the default one."""
    first, second = use_case_names()[:2]
    done = mlops("--usecase", second, "ingest", MLOPS_USECASE=first)
    assert_error(done, f"No parameters at {home / 'usecases' / second / 'params.yaml'}")


def test_an_unknown_use_case_is_refused_with_the_list(mlops: Run) -> None:
    for done in (mlops("--usecase", "nope", "status"), mlops("ingest", MLOPS_USECASE="nope")):
        assert_error(done, "There is no use case 'nope'", ", ".join(use_case_names()))


def test_a_report_covers_the_period_of_the_parameters(mlops: Run, home: Path) -> None:
    params = Settings(home=home).params()
    last = date.fromisoformat(params["replay"]["until"][:10]) - timedelta(days=1)
    assert_error(mlops("report"), f"--from {params['as_of'][:10]} --to {last}")


def test_a_malformed_setting(mlops: Run) -> None:
    assert_error(mlops("run", MLOPS_SERVICE_PORT="many"), "MLOPS_SERVICE_PORT", "integer")


@pytest.mark.parametrize("command", ["run", "status", "compact", "doctor", "predict", "ui"])
def test_a_home_that_is_missing_is_refused_and_not_created(
    mlops: Run, home: Path, command: str
) -> None:
    missing = home / "no" / "such"
    assert_error(mlops(command, MLOPS_HOME=str(missing)), "MLOPS_HOME", str(missing))
    assert not missing.parent.exists()


def test_a_port_that_is_taken(mlops: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        texts = (f"Port {port}", f"pid {os.getpid()}", "MLOPS_PREFECT_PORT")
        assert_error(mlops("run", MLOPS_PREFECT_PORT=port), *texts)


def test_an_error_names_the_command_to_run_before(mlops: Run) -> None:
    assert_error(mlops("gate"), "mlops train")
    assert_error(mlops("monitor"), "mlops run", code=1)
    done = mlops("status")
    assert done.returncode == 0
    assert "none yet" in done.stdout


def test_restore_of_missing_data_or_to_an_existing_path(mlops: Run, home: Path) -> None:
    assert_error(mlops("restore", "0" * 32 + ".dir", str(home / "x")), "No data with the md5")
    (home / "here").mkdir()
    assert_error(mlops("restore", "0" * 32, str(home / "here")), "exists already")


def test_the_doctor_names_the_remedy(mlops: Run, home: Path) -> None:
    done = mlops("doctor")
    assert done.returncode == 1
    assert "release [nothing_released]: no version is released" in done.stdout
    assert done.stdout.rstrip().endswith(". mlops run")
    assert done.stdout.count("ok  ") >= 5
    Settings(home=home).params_file.write_text("as_of: never\n")
    broken = mlops("doctor")
    assert "parameters [parameters_malformed]: could not be checked: " in broken.stdout
    assert "costs.miss, gates.max_auc, gates.max_column_auc: missing" in broken.stdout


def test_the_doctor_knows_the_supported_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, ok in (("3.10.9", False), ("3.11.7", True), ("3.13.0", True), ("3.14.0", False)):
        monkeypatch.setattr("platform.python_version", lambda version=version: version)
        assert package_checks.check_python(Settings()).ok == ok, version


def test_the_doctor_probes_the_servers_of_the_settings(
    mlops: Run, monkeypatch: pytest.MonkeyPatch, a_free_port: Callable[[], int]
) -> None:
    monkeypatch.setenv("MLOPS_SERVICE_URL", f"http://127.0.0.1:{a_free_port()}")
    output = mlops("doctor").stdout
    assert "servers [server_down]: service: " in output
    assert ". docker compose up -d PART" in output
