"""One turn of the loop from one command, on a slice of real days.

All processes are real: the command, Prefect's server and runner, the service.
"""

import json
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.registry import reproduce, version_files
from pipelines.release.audit.verification import verify_release
from pipelines.retraining import monitor
from pipelines.training import mlflow_tracking, training_outcome
from pipelines.training.training_files import TrainingFiles
from serving.models.evaluator import Evaluator
from serving.prediction_log import decisions, reader
from serving.release import document
from settings import LoopError, UserError
from tests.use_case import USE_CASE

Home = Any  # of conftest.py


def test_a_turn_covers_the_seven_components_and_closes_the_loop(turned: tuple[Home, str]) -> None:
    home, output = turned
    for component in range(1, 8):
        assert f"\n{component} " in output
    state = home.state()
    assert [version for version, _, _ in state["versions"]] == ["1", "2"]
    assert len(state["outcomes"]) == 2, "the event must have started a second training"
    assert state["champion"] == "2"
    assert "retrain: yes" in output
    assert state["running"] == 0
    assert len(state["predictions"]) == len(set(state["predictions"])) > 1400
    assert state["champion"] == state["served"][0]


def test_a_turn_prints_each_long_step_of_its_training(turned: tuple[Home, str]) -> None:
    stages = [f"{stage}@{USE_CASE.name}" for stage in ("assemble", "train", "evaluate")]
    steps = [*stages, "log_training", "register_version"]
    lines = [line.split(maxsplit=1)[1:] for line in turned[1].splitlines()]
    at = [lines.index([step]) for step in steps]
    assert at == sorted(at)


def test_the_table_of_a_turn_names_its_candidates_and_places_that_exist(
    turned: tuple[Home, str],
) -> None:
    home, output = turned
    rows: list[list[str]] = [[]]
    for line in output.partition("Summary of this turn")[2].splitlines():
        if line.startswith("│"):  # a further line of a row: cells are folded
            cells = [cell.replace(" ", "") for cell in line.strip("│").split("│")]
            rows[-1] = list(map("".join, zip(rows[-1] or [""] * len(cells), cells, strict=True)))
        elif rows[-1]:
            rows.append([])
    table = {row[0][0]: row for row in rows if row}
    outcome = training_outcome.list_outcomes(home.settings)[0]
    path = home.settings.state / "training" / outcome["training_id"]
    assert table["3"][1].startswith(",".join(TrainingFiles(path, USE_CASE).metrics))
    places = [place for row in table.values() for place in row[-1].split(",")]
    assert f"models:/{USE_CASE.name}@champion" in places
    files = [home.settings.home / place for place in places if not place.startswith("models:/")]
    assert len(files) == len(table)
    assert [file for file in files if not file.exists()] == []


def test_every_prediction_of_a_turn_is_a_decision_on_time(turned: tuple[Home, str]) -> None:
    settings = turned[0].settings
    log = reader.read_predictions(USE_CASE, settings.predictions)
    counted, uncounted = decisions.split_decisions(log, settings.params())
    assert uncounted == {}
    assert len(counted) == counted["key"].nunique() > 0
    assert set(counted["route"]) == {"/predict", "/predict_batch"}
    for clock in ("asked_at", "published_until"):
        behind = counted["decision_time"] - counted[clock]
        assert behind.notna().all()
        assert behind.abs().max() <= pd.Timedelta(hours=2)
    result = monitor.latest_result(settings)
    assert result is not None
    assert (result["uncounted"], result["uncounted_share"]) == ({}, 0)


def test_no_host_but_this_machine_is_looked_up(turned: tuple[Home, str]) -> None:
    home, _ = turned
    looked_up = set((home.settings.home / "looked_up").read_text().split())
    own = {"127.0.0.1", "localhost", "0.0.0.0", "::1", "::", "None", socket.gethostname()}  # noqa: S104
    assert looked_up & own, "the recorder must have heard something"
    assert looked_up <= own


def test_a_rerun_repeats_nothing_and_a_second_run_is_refused(turned: tuple[Home, str]) -> None:
    home, _ = turned
    before = home.state()
    files = {path: path.stat().st_mtime_ns for path in (home.settings.data).rglob("*.parquet")}
    with subprocess.Popen(
        [*home.mlops, "run"], cwd=home.settings.home, env=home.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as rerun:  # fmt: skip
        assert rerun.stdout is not None
        lines = [next(line for line in rerun.stdout if "Prefect" in line)]
        second = home.run("run")
        lines += rerun.stdout.readlines()
    assert rerun.returncode == 0, "".join(lines)
    assert any("0 sent now" in line for line in lines)
    assert home.state() == before
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert second.returncode == 2
    assert f"pid {rerun.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def test_the_md5_on_a_version_gives_its_training_set_back(
    turned: tuple[Home, str], tmp_path: Path
) -> None:
    home, _ = turned
    for version, _, md5 in home.state()["versions"]:
        found = mlflow_tracking.mlflow_client(home.settings).get_model_version(
            USE_CASE.name, version
        )
        made = (
            home.settings.state
            / "training"
            / found.tags["training_id"]
            / "data"
            / USE_CASE.name
            / "training"
        )
        target = tmp_path / version
        done = home.run("restore", md5, str(target))
        assert done.returncode == 0, done.stderr
        for part in ("training.parquet", "manifest.json"):
            assert (target / part).read_bytes() == (made / part).read_bytes()


def test_what_is_served_is_what_was_registered(turned: tuple[Home, str]) -> None:
    home, _ = turned
    served = document.read_release(home.settings)
    assert served is not None
    version = mlflow_tracking.mlflow_client(home.settings).get_model_version(
        USE_CASE.name, served.champion.version
    )
    assert version.tags["digest"] == served.champion.digest
    assert "Model card" in version.description
    files = home.settings.state / "models" / str(version.version)
    listed = json.loads((files / version_files.LIST_FILE).read_text())["files"]
    names = {each.relative_to(files).as_posix() for each in files.rglob("*") if each.is_file()}
    assert names - set(listed) == {version_files.LIST_FILE, version_files.CARD_FILE}
    assert {"facts.json", "reference.parquet", "params.yaml", "card.md"} < set(listed)
    problems, chain = verify_release(home.settings)
    assert problems == []
    moves = [(entry.action, entry.version) for entry in chain.entries]
    assert moves == [("promote", "1"), *2 * [("challenge", "2")], ("promote", "2")]
    assert [v for v, _, _ in home.state()["versions"]] == ["1", "2"]
    folder = home.settings.release_file.parent
    Evaluator.load(folder / served.champion.path, served.champion.digest)


def test_every_candidate_is_a_run_with_its_lineage(turned: tuple[Home, str]) -> None:
    home, _ = turned
    client = mlflow_tracking.mlflow_client(home.settings)
    experiment = client.get_experiment_by_name(USE_CASE.name)
    runs = client.search_runs([experiment.experiment_id])
    named = {run.data.tags.get("candidate") for run in runs}
    assert {"baseline", "logistic_regression", "gradient_boosting"} <= named
    for run in runs:
        for tag in ("dvc_md5_training", "git_commit", "lock_sha256", "seed", "training_id"):
            assert run.data.tags[tag] not in ("", "none"), (run.info.run_name, tag)
        assert run.data.tags["feast_registry_version"]
        if "refit" not in run.data.tags:
            assert run.data.metrics["auc"] > 0.5


def test_single_commands_report_the_state(turned: tuple[Home, str]) -> None:
    home, _ = turned
    status = home.run("status")
    assert status.returncode == 0
    assert "Champion:  version" in status.stdout
    assert "Decision:  retrain yes" in status.stdout
    assert "of the features are over their limit" in status.stdout
    gate = home.run("gate")
    assert gate.returncode == 0
    assert "beats the baseline" in gate.stdout
    stale = home.run("train", "--as-of", "2013-01-20")
    assert stale.returncode == 2
    assert "knows all data up to 2013-01-21" in stale.stderr
    monitor = home.run("monitor", "--as-of", "2013-01-21")
    assert monitor.returncode == 0
    assert "Retrain: yes" in monitor.stdout


def test_the_state_is_exported_as_metrics(turned: tuple[Home, str]) -> None:
    from pipelines.operations import loop_metrics, metric_samples

    home, _ = turned
    exported = {
        sample.name
        for reader in loop_metrics.SAMPLE_READERS.values()
        for sample in reader(home.settings)
        if sample.value is not None
    }
    # The turn's own Prefect server exports no metrics: it ends with the turn.
    of_prefect = {"flow_failed", "flow_runs_late", "alert_event_age_seconds"}
    assert set(metric_samples.LOOP_METRIC_HELP) - exported == of_prefect


def test_a_version_is_made_again_bit_for_bit(turned: tuple[Home, str]) -> None:
    home, _ = turned
    reproduced = home.run("reproduce", "1")
    assert reproduced.returncode == 0, reproduced.stdout + reproduced.stderr
    assert "Version 1 is the same bit for bit" in reproduced.stdout
    assert not list((home.settings.state / "reproduced").iterdir())
    missing = home.run("reproduce", "99")
    assert missing.returncode == 2
    assert "There is no version 99" in missing.stderr


def test_a_version_that_can_not_be_reproduced_is_reported(
    turned: tuple[Home, str], tmp_path: Path
) -> None:
    home, _ = turned
    record = reproduce.read_recorded_version(home.settings, "1")
    lost = replace(record, tags=record.tags | {"dvc_md5_training": f"{'0' * 32}.dir"})
    with pytest.raises(UserError, match="No data with the md5 0000"):
        reproduce.refit_and_compare(home.settings, lost, tmp_path / "lost")
    of_others = {"code_sha256": "0" * 64}
    changed = replace(record, tags=record.tags | of_others | {"git_commit": "f" * 40})
    with pytest.raises(LoopError, match="git can't check out its commit"):
        reproduce.refit_and_compare(home.settings, changed, tmp_path / "code")


def test_the_card_of_a_version_is_a_page(turned: tuple[Home, str]) -> None:
    home, _ = turned
    client = mlflow_tracking.mlflow_client(home.settings)
    version = client.get_model_version(USE_CASE.name, "1")
    files = {each.path for each in client.list_artifacts(version.run_id)}
    assert {"card.html", "card.md", "params.yaml"} <= files
    page = Path(client.download_artifacts(version.run_id, "card.html")).read_text()
    for heading in ("Risks, as approved", "Monitoring plan", "online as offline", "Behaviours"):
        assert heading in page
    assert page.count("<svg") >= 5
