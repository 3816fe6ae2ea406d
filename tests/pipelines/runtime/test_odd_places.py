"""A project in a folder with an odd name, behind a link, and on two disks."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features import durable_files, partitions, table_builder
from settings import Settings, UserError, load_settings
from tests.use_case import USE_CASE

Home = Any  # of conftest.py
ODD = "my, project #1 'ü\" 100% &;x"
STEPS = """
import json
from datetime import UTC, datetime
import settings
from features.online_publisher import publish_features
from pipelines.training import build_features, dvc_stages, mlflow_tracking, workspace
from pipelines.ingestion import ingest, validate
here, as_of = settings.load_settings(), datetime(2013, 1, 4, tzinfo=UTC)
for step in (ingest.fetch_due_batches, validate.validate_new_batches,
build_features.build_feature_tables, publish_features):
    step(here, as_of)
path = workspace.open_workspace(here, as_of)
stage, before = next(iter(dvc_stages.recipe_stages(here, path).items()))
ran = dvc_stages.run_stage(here, path, stage, before)["ran"]
md5s = dvc_stages.push_outputs(here, path)
dvc_stages.restore_output(here, md5s["data/" + here.usecase + "/training"], here.home / "restored")
with mlflow_tracking.start_run(here, "one", {}) as run:
    mlflow_tracking.mlflow_client(here).log_artifact(run.info.run_id, str(path / "dvc.log"))
found = mlflow_tracking.mlflow_client(here).download_artifacts(run.info.run_id, "dvc.log",
str(path))
print(json.dumps({"path": str(path), "ran": ran, "logged": found}))
"""


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on another file system than pytest's own."""
    memory = Path("/dev/shm")  # noqa: S108 - for its file system; no fixed name is used there
    if not memory.is_dir() or memory.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("this machine has no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=memory, prefix="mlops-test-") as folder:
        yield Path(folder)


def test_the_loop_works_there_and_writes_nothing_elsewhere(
    disk: Path, tmp_path: Path, make_home: Callable[[Path], Home]
) -> None:
    (disk / ODD).mkdir()
    (tmp_path / "data, #2").mkdir()
    (disk / ODD / "data").symlink_to(tmp_path / "data, #2")
    (tmp_path / "linked").symlink_to(disk / ODD)
    home = make_home(tmp_path / "linked")
    params = home.settings.params()
    params["training"]["holdout_days"] = 1
    durable_files.write_json(home.settings.params_file, params)  # JSON is YAML, too
    done = subprocess.run(
        [sys.executable, "-c", STEPS], cwd=tmp_path / "linked", env=home.environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["ran"]
    assert "dvc repro" in Path(result["logged"]).read_text()
    assert len(list((disk / ODD / "restored").iterdir()))
    frozen = list(partitions.files_below(Path(result["path"]) / "data" / USE_CASE.name / "raw"))
    assert {path.stem for path in frozen} == {"2013-01-01", "2013-01-02", "2013-01-03"}
    assert all(path.stat().st_dev == disk.stat().st_dev for path in frozen)
    below = home.settings.state.relative_to(home.settings.var)
    assert (disk / ODD / "var" / below / "feast" / "registry.db").exists()
    assert sorted(os.listdir(disk)) == [ODD]
    assert sorted(os.listdir(tmp_path)) == ["data, #2", "linked"]
    expected = {"data", "looked_up", "restored", "usecases", "var"}
    assert set(os.listdir(disk / ODD)) <= expected


@pytest.mark.parametrize("name", ["why?", "[x]", "a*b", "$HOME", "year=2013"])
def test_a_path_with_special_characters_of_the_tools_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / name))
    with pytest.raises(UserError, match="Rename that folder"):
        load_settings()
    assert os.listdir(tmp_path) == []


def test_a_stage_in_such_a_path_exits_with_the_message_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.training.build_features"],
        env={**os.environ, "MLOPS_HOME": str(tmp_path / "why?")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == UserError.exit_code
    assert done.stderr.startswith("error: The path of the project contains ?")
    assert "Traceback" not in done.stderr


def test_a_second_name_is_a_link_or_on_another_disk_a_copy(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "partition"
    source.write_text("rows")
    (tmp_path / "leads to it").symlink_to("partition")
    durable_files.link_or_copy(tmp_path / "leads to it", tmp_path / "here")
    durable_files.link_or_copy(source, disk / "there")
    assert (tmp_path / "here").stat().st_ino == source.stat().st_ino
    assert (disk / "there").read_text() == "rows"
    with pytest.raises(FileExistsError):
        durable_files.link_or_copy(source, tmp_path / "here")


def test_partitions_behind_links_are_found_and_follow_their_recipe(tmp_path: Path) -> None:
    settings, disk = Settings(home=tmp_path), tmp_path / "disk"
    (disk / "table").mkdir(parents=True)
    (disk / "table" / "2013-01-01.parquet").touch()
    features = settings.data / "features"
    features.mkdir(parents=True)
    (features / "table").symlink_to(disk / "table")
    assert [each.name for each in partitions.files_below(features)] == ["2013-01-01.parquet"]
    as_of = datetime(2013, 1, 2, tzinfo=UTC)
    table_builder.build_tables(settings, as_of.date(), as_of, timedelta(0), tables={})
    assert os.listdir(disk / "table") == []
