"""A training uses and records the data of its start; data that arrive later change nothing."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from dvc.repo import Repo

from features import partitions
from pipelines.registry import refit
from pipelines.training import dvc_stages, training_outcome, workspace
from pipelines.training.training_files import TrainingFiles
from tests.use_case import USE_CASE

Home = Any  # of conftest.py
INGEST = """
import sys
import settings
from pipelines.training import build_features
from pipelines.ingestion import ingest, validate
from pipelines.runtime import stage_command
here, as_of = settings.load_settings(), stage_command.parse_time(sys.argv[1])
for step in (ingest.fetch_due_batches, validate.validate_new_batches,
build_features.build_feature_tables):
    step(here, as_of)
"""
# These hold the seconds of each fit; the predictions are compared instead.
DATA = f"data/{USE_CASE.name}"
TIMED = {f"{DATA}/candidates", f"{DATA}/evaluation/report.html"}


def train(home: Home, path: Path, arriving: Future[Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Return when each stage ended, and the recorded md5s; the last stage waits for new data."""
    ended = {}
    for name, before in dvc_stages.recipe_stages(home.settings, path).items():
        stage = name.removesuffix(f"@{USE_CASE.name}")
        if stage == "evaluate":
            arriving.result()
        dvc_stages.run_stage(home.settings, path, name, before)
        ended[stage] = time.time()
    return ended, dvc_stages.push_outputs(home.settings, path)


def ingest_during(home: Home, path: Path, module: str, until: datetime) -> tuple[float, float]:
    """Ingest later days into the home while `module` runs; return the start and end times."""
    deadline = time.monotonic() + 200
    while not runs_in(path, module):
        assert time.monotonic() < deadline, f"{module} did not start"
        time.sleep(0.1)
    began = time.time()
    subprocess.run(
        [sys.executable, "-c", INGEST, until.isoformat()], cwd=home.settings.home,
        env=home.environment(), check=True,
    )  # fmt: skip
    return began, time.time()


def runs_in(path: Path, module: str) -> bool:
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if module in (process.info["cmdline"] or []) and process.info["cwd"] == str(path):
            return True
    return False


def recorded_md5s(path: Path) -> dict[tuple[str, str], str]:
    """Return the md5 of all inputs and outputs of the stages by `("deps" or "outs", path)`."""
    stages = yaml.safe_load((path / "dvc.lock").read_text())["stages"].values()
    return {
        (where, each["path"]): each["md5"]
        for stage in stages for where in ("deps", "outs") for each in stage.get(where, [])
    }  # fmt: skip


@pytest.mark.long
def test_data_that_arrive_during_a_training_change_nothing_in_it(
    turned: tuple[Home, str], make_home: Callable[..., Home], tmp_path: Path
) -> None:
    first = training_outcome.list_outcomes(turned[0].settings)[0]
    undisturbed = turned[0].settings.state / "training" / first["training_id"]
    home = make_home(tmp_path / "disturbed")
    for layer in workspace.GROWING_LAYERS:
        shutil.copytree(undisturbed / "data" / USE_CASE.name / layer, home.settings.data / layer)
    as_of = datetime.fromisoformat(first["as_of"])
    path = workspace.open_workspace(home.settings, as_of)
    assert path.name == undisturbed.name, "code, parameters and moment are the same"

    days = [as_of.date(), as_of.date() + timedelta(days=1)]
    with ThreadPoolExecutor(2) as pool:
        arriving = pool.submit(
            ingest_during, home, path, "pipelines.training.assemble", as_of + timedelta(days=2)
        )
        ended, md5s = pool.submit(train, home, path, arriving).result()
    began, arrived = arriving.result()
    assert began < ended["assemble"]
    assert arrived < ended["evaluate"]
    for layer in ("raw", "validated"):
        assert (
            partitions.partition_days(home.settings.data, layer, USE_CASE.label_feed)[-2:] == days
        )
        assert (
            max(
                partitions.partition_days(path / "data" / USE_CASE.name, layer, USE_CASE.label_feed)
            )
            < days[0]
        )

    before, after = recorded_md5s(undisturbed), recorded_md5s(path)
    assert {out for _, out in after} == {out for _, out in before} > TIMED
    changed = {out for where, out in after if after[where, out] != before[where, out]}
    assert changed <= TIMED
    assert {name: after["outs", name] for name in md5s} == md5s
    with Repo(str(path)) as repo:
        again = [name for name in repo.status() if name.endswith(f"@{USE_CASE.name}")]
    assert again == [], "a stage would run again"
    predictions = Path(DATA, "candidates", "predictions.parquet")
    assert (path / predictions).read_bytes() == (undisturbed / predictions).read_bytes()
    digest, _ = refit.refit_training(TrainingFiles(path, USE_CASE))
    assert digest == (undisturbed / "refit" / "digest").read_text()
    assert turned[0].state()["versions"][0] == ("1", digest, md5s[f"{DATA}/training"])


def test_a_frozen_copy_has_the_templates_of_the_pages(tmp_path: Path) -> None:
    workspace.copy_code(tmp_path)
    source, copy = (
        {path.relative_to(root) for each in workspace.CODE_FOLDERS
         for path in (root / each).rglob("*.html.j2")}
        for root in (workspace.SOURCE_ROOT, tmp_path)
    )  # fmt: skip
    assert copy == source != set()
