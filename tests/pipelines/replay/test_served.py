"""Served replays: their home, records and costs, and agreement with the fast replay."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml

from features import durable_files
from pipelines.replay import (
    agreement,
    fast_replay,
    platform_figures,
    policies,
    served_record,
    served_replay,
)
from pipelines.runtime.stage_command import parse_time
from pipelines.training.mlflow_tracking import mlflow_client
from serving.prediction_log import reader
from settings import LoopError, Settings
from tests import slice_params
from tests.slice_params import END, FIRST, POLICY
from tests.use_case import USE_CASE

Home = Any  # of conftest.py
KILLED = "2013-01-22"


def command(*more: str, end: str = END) -> list[str]:
    return ["replay", "--from", FIRST, "--to", end, "--policy", POLICY, *more]


def kill_in_the_middle(home: Home, day: str) -> None:
    """Run the replay, and kill it with all its processes during the day after `day`."""
    with subprocess.Popen(
        [*home.mlops, *command()], cwd=home.settings.home, env=home.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"{day}:"):
                break
        else:
            raise AssertionError(f"no line for {day}")
        time.sleep(3.0)
        for each in psutil.Process(process.pid).children(recursive=True):
            each.send_signal(signal.SIGKILL)


def day(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "day": f"2013-01-{19 + number}", "n": 100, "known_n": 50, "known_cost": 30.0, "trained": 0,
        "released": 0, "withdrawn": 0, "rollout": "", "verdicts": [], "reason": "quiet",
        "entries": 1, **changes,
    }  # fmt: skip


def test_a_home_with_other_parameters_starts_over(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, prefect_port=4999)
    settings.params_file.parent.mkdir(parents=True)
    settings.params_file.write_text(yaml.safe_dump(slice_params.month_params()))
    rule = policies.find_policy(settings.params(), POLICY)
    own = served_replay.prepare_replay_home(settings, parse_time(FIRST), POLICY, rule)
    assert (own.prefect_port, own.params()["as_of"][:10]) == (4999, FIRST)
    assert own.var.is_relative_to(settings.state / "replay")
    assert own.params()["monitoring"]["policy"] == rule
    served_record.append_day_record(served_record.records_folder(own), day(0))
    changed = slice_params.month_params() | {"schedules": {}}  # irrelevant for a replay
    settings.params_file.write_text(yaml.safe_dump(changed))
    served_replay.prepare_replay_home(settings, parse_time(FIRST), POLICY, rule)
    assert served_record.read_day_records(served_record.records_folder(own)) == [day(0)]
    served_replay.prepare_replay_home(
        settings, parse_time(FIRST), POLICY, rule | {"max_calibration_gap": 0.3}
    )
    assert served_record.read_day_records(served_record.records_folder(own)) == []
    assert settings.params()["schedules"] == {}


def test_a_replay_uses_no_store_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLOPS_REDIS", "MLOPS_TRACKING_URI", "MLOPS_SERVICE_URL", "PREFECT_API_URL",
                 "MLFLOW_TRACKING_URI", "BENTOML_HOME"):  # fmt: skip
        monkeypatch.setenv(name, "somebody-elses:1" if "REDIS" in name else "http://somebody-elses")
    own = served_replay.replay_home(Settings(home=tmp_path), parse_time(FIRST), POLICY)
    assert "somebody-elses" not in json.dumps(served_replay.replay_environment(own))
    assert own.owns_service
    assert own.owns_prefect
    other = served_replay.replay_home(
        Settings(home=tmp_path, usecase="another"), parse_time(FIRST), POLICY
    )
    assert other.usecase == served_replay.replay_environment(other)["MLOPS_USECASE"] == "another"
    assert str(tmp_path) in own.mlflow_uri


def test_a_half_written_day_is_replaced(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    served_record.append_day_record(served_record.records_folder(settings), day(0))
    path = served_record.records_folder(settings) / served_record.DAYS_FILE
    path.write_text(path.read_text() + '{"day": "2013')
    assert served_record.read_day_records(served_record.records_folder(settings)) == [day(0)]
    served_record.append_day_record(served_record.records_folder(settings), day(1))
    assert served_record.read_day_records(served_record.records_folder(settings)) == [
        day(0),
        day(1),
    ]
    line = served_record.format_day_line(settings, day(1, rollout="promote: no harm"), 1.5)
    assert line == "2013-01-20: 100 cases, cost 600 per 1,000, 1.5 s; promote: no harm"


def test_the_platform_figures_are_those_of_the_days() -> None:
    refusal = {"gate": "calibrated", "passed": False, "told": "0.2"}
    days = pd.DataFrame([
        day(0, trained=1, verdicts=[refusal]), day(1, trained=1, rollout="stay: in the shadow"),
        day(2, rollout="advance: fine"), day(4, rollout="promote: no harm", released=1),
        day(5, trained=1), day(6, rollout="withdraw: costs; and more", withdrawn=1),
    ])  # fmt: skip
    assert platform_figures.days_to_promotion(days) == [3]
    assert platform_figures.count_gate_refusals(days) == {"calibrated": 1}
    assert platform_figures.count_rollout_steps(days) == {"advance": 1, "promote": 1, "withdraw": 1}


def test_cpu_and_failed_runs_are_reported(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    meter = platform_figures.Meter(settings)
    with meter.stage("cases"):
        sum(number * number for number in range(300_000))
    meter.close("2013-01-19")
    counts = {"COMPLETED": 7, "CRASHED": 1, "FAILED": 2}
    durable_files.write_json(platform_figures.flow_run_counts_path(settings), counts)
    figures = platform_figures.platform_figures(settings, pd.DataFrame([day(0)]))
    assert (figures["runs"], figures["failed"]) == (10, 3)
    assert 0 < figures["stage_a_day"]["cases"] <= figures["cpu_a_day"]["replay"] + 0.02
    texts = dict(platform_figures.format_figures(figures, "1 of 2: fired"))
    assert texts["Flow runs, and failed or crashed ones"] == "10, 3"
    assert texts["Days on which the fast replay differs"] == "1 of 2: fired"
    times = dict(platform_figures.format_times(figures))
    assert times["CPU of a day"] == times["CPU of a day, replay"]
    for name in ("A simulated day, wall clock", "CPU of a day", "CPU of a day, cases"):
        assert re.fullmatch(r"\d+\.\d\d s", times[name])
    assert times.items() <= texts.items()


def test_the_record_contains_the_verdicts_on_the_refit(tmp_path: Path) -> None:
    passed = {"gate": "calibrated", "passed": True}
    refused = {"gate": "behaves when served", "passed": False}
    folder = tmp_path / "data" / USE_CASE.name / "evaluation"
    folder.mkdir(parents=True)
    (folder / "gates.json").write_text(
        json.dumps({"winner": "trees", "verdicts": {"trees": [passed]}})
    )
    (folder / "metrics.json").write_text(json.dumps({"trees": {"cost_per_1000": 500.0}}))
    report = str(folder / "report.html")
    outcome = {"report": report, "training_id": "x", "verdicts": [refused]}
    kept = served_record.training_fields(Settings(home=tmp_path), outcome)
    assert kept == {"trained": 1, "training": "x", "verdicts": [passed, refused]}


def two_days(**changes: Any) -> pd.DataFrame:
    """Two days; the second has the changes."""
    quiet: dict[str, Any] = {
        "champion": "1", "challenger": None, "stage": None, "retrain": False, "fired": [],
        "gap": 0.04, "bias": -0.04, "coverage": 0.9, "drift_share": 0.1, "delay_hours": None,
        "cost": 30.0, "baseline_cost": 40.0, "drift": {"temp": 0.5}, "rollout": "some words",
        "measured": {"slices": 0.1, "volume": 300, "target": None},
    }  # fmt: skip
    return pd.DataFrame([day(0, **quiet), day(1, **quiet | changes)])


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"rollout": "in other words"}, []),
        ({"drift": {"temp": 0.5004}}, []),
        ({"verdicts": [{"gate": "calibrated", "passed": True}]}, []),
        ({"verdicts": [{"gate": "calibrated", "passed": False}]}, ["gates"]),
        ({"trained": 1}, ["trained"]),
        ({"champion": "2", "stage": "canary"}, ["champion", "stage"]),
        ({"fired": ["drift"], "drift_share": 0.7}, ["fired", "drift_share"]),
        ({"cost": 30.001}, ["cost"]),
        ({"gap": None}, ["gap"]),
        ({"drift": {"temp": 0.6}}, ["drift"]),
        ({"drift": {"wind": 0.5}}, ["drift"]),
        ({"drift": None}, ["drift"]),
        ({"measured": {"slices": 0.1, "volume": 301, "target": None}}, ["measured"]),
        ({"measured": {"slices": 0.11, "volume": 300, "target": None}}, ["measured"]),
        ({"measured": {"slices": 0.1, "volume": 300, "target": 0.0}}, ["measured"]),
    ],
)
def test_differing_days_and_columns_are_found(changes: dict[str, Any], differs: list[str]) -> None:
    differing = agreement.differing_days(two_days(**changes), two_days())
    assert differing == {name: ["2013-01-20"] for name in differs}
    summary = agreement.format_agreement(two_days(**changes), two_days())
    assert summary == (f"1 of 2: {', '.join(differs)}" if differs else "0 of 2")


@pytest.mark.parametrize("column", agreement.COMPARED_COLUMNS)
def test_a_difference_in_any_compared_column_is_found(column: str) -> None:
    fast = two_days()
    served = two_days(**{column: 0.5})
    fast[column] = fast.get(column)
    assert column in agreement.differing_days(served, fast)


def test_replays_of_other_days_are_not_compared() -> None:
    with pytest.raises(ValueError, match="not of the same days"):
        agreement.differing_days(two_days(), two_days().assign(day=["2013-01-19", "2013-01-21"]))


def test_days_without_costs_are_compared_without_them() -> None:
    raw = two_days(cost=99.0).drop(columns=["cost", "baseline_cost"])
    assert agreement.differing_days(raw, two_days()) == {}


@pytest.mark.parametrize(
    ("log", "refusal"),
    [
        ([("a", False)], "1 are not in the log"),
        ([("a", False), ("b", False), ("b", False)], "1 are in it twice"),
        ([("a", False), ("b", True)], "1 cases were predicted without the online store"),
    ],
)
def test_missing_double_and_degraded_predictions_are_refused(
    log: list[tuple[str, bool]], refusal: str
) -> None:
    cases = pd.DataFrame({"key": ["a", "b"], "label": [1, 0]})
    predicted = pd.DataFrame(log, columns=["key", "degraded"]).assign(probability=0.3)
    with pytest.raises(LoopError, match=refusal):
        agreement.match_answers(cases, predicted)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_both_replays_decide_release_and_cost_the_same_for_a_month(
    tmp_path: Path, make_home: Callable[..., Home]
) -> None:
    home = make_home(tmp_path / "home", measured=False)
    home.settings.params_file.write_text(yaml.safe_dump(slice_params.month_params()))
    kill_in_the_middle(home, KILLED)
    served = subprocess.run(
        [*home.mlops, *command()], cwd=home.settings.home, env=home.environment(), text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert served.returncode == 0, served.stdout[-3000:] + served.stderr[-3000:]
    assert f"\n{KILLED}:" not in served.stdout, "a complete day is not run again"
    fast = home.run(*command("--fast"))
    assert fast.returncode == 0, fast.stdout[-3000:] + fast.stderr[-3000:]

    first, end = parse_time(FIRST), parse_time(END)
    place = fast_replay.replay_folder(home.settings, first, POLICY) / served_record.DAYS_FILE
    quick = pd.DataFrame([json.loads(line) for line in place.read_text().splitlines()])
    own = served_replay.replay_home(home.settings, first, POLICY)
    real = agreement.read_days_with_costs(home.settings, own, first, end)
    assert set(agreement.COMPARED_COLUMNS) <= set(real)
    assert agreement.differing_days(real, quick) == {}
    assert {"shadow", "canary"} <= set(real["stage"]), "shadow and canary ran over HTTP, too"
    assert real["released"].sum() >= 2, "a month without a release shows little"
    assert {"schedule", "calibration"} <= set(real.loc[real["trained"] > 0, "fired"].explode())
    # The kill caused no duplicate.
    passed = quick.loc[quick["trained"] > 0, "verdicts"].map(
        lambda verdicts: all(each["passed"] for each in verdicts)
    )
    found = mlflow_client(own).search_model_versions(f"name = '{USE_CASE.name}'")
    assert len(found) == 1 + passed.sum()
    log = reader.read_predictions(USE_CASE, own.predictions)
    assert log["key"].is_unique
