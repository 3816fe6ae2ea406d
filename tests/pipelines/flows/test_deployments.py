"""`mlops deploy` starts a scheduled flow, with a real Prefect server and real batches."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from features import durable_files, partitions, publication_record
from pipelines.flows import deployments
from pipelines.replay import policies
from pipelines.runtime import child_processes, prefect_commands, server_health
from settings import Settings, UserError
from tests import slice_params
from tests.use_case import USE_CASE

DECISIONS = Path(__file__).parents[3] / "docs" / "decisions"
Home = Any  # of conftest.py


@pytest.fixture
def scheduled(tmp_path: Path, make_home: Callable[..., Home]) -> Iterator[Home]:
    """A home whose ingest flow is due every minute, with a running Prefect server."""
    home = make_home(tmp_path / "scheduled")
    params = home.settings.params()
    params["as_of"] = "2013-01-03T00:00:00Z"
    params["schedules"]["ingest"] = "* * * * *"
    home.settings.params_file.write_text(yaml.safe_dump(params))
    server = child_processes.start_child(
        home.settings, "prefect-server", prefect_commands.prefect_server_command(home.settings),
        prefect_commands.prefect_environment(home.settings),
    )  # fmt: skip
    try:
        server_health.wait_until_healthy(server, f"{home.settings.prefect_url}/health", 90)
        yield home
    finally:
        child_processes.stop_children(home.settings)


def await_end(home: Home, seconds: float) -> Any:
    """Return the first run of ingest that has ended."""
    query = {"flows": {"name": {"any_": ["ingest"]}}, "sort": "EXPECTED_START_TIME_ASC"}
    deadline = time.monotonic() + seconds
    with httpx.Client(base_url=home.settings.prefect_url, timeout=30) as client:
        while time.monotonic() < deadline:
            runs = client.post("/flow_runs/filter", json=query).raise_for_status().json()
            if ended := [run for run in runs if run["end_time"]]:
                return ended[0]
            time.sleep(1)
    raise AssertionError([(run["name"], run["state"]) for run in runs])


@pytest.mark.long
def test_the_schedule_starts_an_ingest_that_catches_up(scheduled: Home) -> None:
    with (scheduled.settings.home / "deploy.log").open("w") as log:
        process = subprocess.Popen(
            [*scheduled.mlops, "deploy"], cwd=scheduled.settings.home,
            env=scheduled.environment(), stdout=log, stderr=subprocess.STDOUT,
            preexec_fn=scheduled.heed_ctrl_c,
        )  # fmt: skip
        try:
            # It is due within a minute; a busy machine needs time to run it.
            done = await_end(scheduled, 240)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert done["state"]["name"] == "Completed", done["state"]
    assert done["auto_scheduled"]
    assert done["created_by"]["type"] == "SCHEDULE"
    assert done["parameters"] == {"as_of": None, "online": True} or not done["parameters"]
    due = datetime.fromisoformat(done["expected_start_time"])
    assert (due.second, due.microsecond) == (0, 0)
    assert datetime.fromisoformat(done["start_time"]) > due - timedelta(seconds=1)

    days = [date(2013, 1, 1), date(2013, 1, 2)]
    for feed in USE_CASE.feeds:
        wanted = [day for day in days if USE_CASE.due(feed, day)]
        for layer in ("raw", "validated"):
            assert partitions.partition_days(scheduled.settings.data, layer, feed) == wanted
    published_until = publication_record.published_until(scheduled.settings)
    assert published_until is not None
    assert published_until.date() == date(2013, 1, 3)

    assert "Traceback" not in (scheduled.settings.home / "deploy.log").read_text()
    (server,) = {each.environ()[child_processes.MARK_VARIABLE] for each in scheduled.processes()}
    assert server.startswith("prefect-server:")
    assert os.getpid() not in {each.pid for each in scheduled.processes()}


def test_a_retraining_has_no_schedule_of_its_own(tmp_path: Path) -> None:
    """Only the event of `monitoring.retraining_decision` starts a training."""
    settings = with_schedules(tmp_path, {})
    made = {
        each.flow_name: each
        for each in deployments.build_deployments(settings, schedules_active=True)
    }
    assert made["train"].schedules == []
    assert [trigger.expect for trigger in made["train"].triggers] == [{"mlops.retrain.wanted"}]
    assert all(len(made[name].schedules) == 1 for name in ("ingest", "monitor", "rollout"))


@pytest.mark.parametrize("wrong", [{"train": "0 6 * * 1"}, {"monitro": "* * * * *"}])
def test_a_schedule_of_a_training_or_of_no_flow_is_refused(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        deployments.build_deployments(with_schedules(tmp_path, wrong), schedules_active=True)


def with_schedules(home: Path, added: dict[str, str]) -> Settings:
    """Return a home with the shipped parameters and additional schedules."""
    params = slice_params.shipped_params()
    params["schedules"] |= added
    settings = Settings(home=home)
    durable_files.write_file(settings.params_file, yaml.safe_dump(params))
    return settings


def test_deployments_replay_and_documents_have_one_policy() -> None:
    params = slice_params.shipped_params()
    policy, default = params["monitoring"]["policy"], params["replay"]["default"]
    replayed = policies.find_policy(params, default)
    assert replayed == {**policy, "triggers": sorted(policy["triggers"])}
    assert params["replay"]["policies"][default] == {}, "it can't become another one"
    decision = (DECISIONS / "15-when-to-retrain.md").read_text()
    for name in ("every_days", "max_calibration_gap", "cool_down_days"):
        assert f"`{name}: {policy[name]:g}`" in decision
