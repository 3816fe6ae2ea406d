"""This version works in a home that v0.1 wrote, at another path."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.operations import doctor
from pipelines.release import promotion, rollback
from pipelines.release.audit.verification import verify_release
from pipelines.runtime import upgrade
from pipelines.training import training_outcome
from pipelines.training.mlflow_tracking import mlflow_client
from pipelines.training.training_files import TrainingFiles
from serving.models.holder import ModelHolder
from tests.homes import v01
from tests.use_case import USE_CASE

ME = {"by": "me", "why": "it is right"}
ANOTHER = "2013-01-24"  # day of a later training


def run_command(home: Any, *command: str) -> str:
    done = home.run(*command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return str(done.stdout)


@pytest.fixture
def home(tmp_path: Path, make_home: Callable[..., Any]) -> Any:
    """The packed home of v0.1, unpacked at another path."""
    made = make_home(tmp_path / "moved", measured=False)
    v01.unpack(made.settings.home)
    return made


def test_its_release_and_record_are_whole_and_accept_new_entries(home: Any) -> None:
    status = run_command(home, "status")
    assert "Champion:  version 2" in status
    assert "Version 1 promoted to champion" in status
    assert upgrade.stored_format(home.settings) == upgrade.STATE_FORMAT
    assert "Retrain: yes" in run_command(home, "monitor", "--as-of", "2013-01-21")
    settings = home.settings
    for outcome in training_outcome.list_outcomes(settings):
        path = settings.state / "training" / outcome["training_id"]
        assert TrainingFiles(path, USE_CASE).gates["verdicts"]
    problems, chain = verify_release(settings)  # including the evidence in MLflow
    assert (problems, len(chain.entries)) == ([], 5)
    holder = ModelHolder(settings)
    assert holder.problem is None
    shutil.rmtree(settings.state / "models" / "1")  # forces a download from its new path
    assert rollback.rollback(settings, **ME)["version"] == "1"
    assert holder.refresh()
    assert promotion.promote(settings, "2", again=True, **ME)["version"] == "2"
    assert doctor.check_models(settings).ok
    problems, chain = verify_release(settings)
    assert (problems, len(chain.entries)) == ([], 7)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_loop_runs_in_it_and_writes_nothing_to_the_original(
    tmp_path: Path, make_home: Callable[..., Any]
) -> None:
    made = make_home(tmp_path / "moved", measured=False)
    original = v01.whole_home()
    before = {each: each.stat().st_mtime_ns for each in original.rglob("*") if each.is_file()}
    for part in ("data", "var"):
        shutil.copytree(original / part, made.settings.home / part)
    settings = made.settings

    run_command(made, "ingest", "--as-of", ANOTHER)
    run_command(made, "features", "--as-of", ANOTHER)
    assert (settings.data / "validated" / USE_CASE.label_feed / "2013-01-23.parquet").exists()
    run_command(made, "rollback", "--reason", "its predictions are in the log")
    assert "Retrain:" in run_command(made, "monitor", "--as-of", "2013-01-22")
    run_command(made, "train", "--as-of", ANOTHER, "--reason", "another one")
    newest = training_outcome.list_outcomes(settings)[-1]
    assert newest["as_of"].startswith(ANOTHER)
    assert Path(newest["report"]).is_relative_to(settings.home)
    assert newest["version"] == "3", newest["told"]
    source = mlflow_client(settings).get_model_version(USE_CASE.name, "3")
    run = mlflow_client(settings).get_run(source.run_id)
    assert run.info.artifact_uri.startswith(settings.home.as_uri())
    assert "The record is whole" in run_command(made, "history", "--verify")
    after = {each: each.stat().st_mtime_ns for each in original.rglob("*") if each.is_file()}
    assert after == before
