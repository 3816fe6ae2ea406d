"""The flows with a real Prefect server and runner; the steps are stand-ins.

A stand-in logs its call and does what `PLAN` says for that day. Each scenario has its own day as
`as_of`, so that scenarios can run at the same time.
"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import pytest

from pipelines.runtime import child_processes, prefect_commands, server_health
from settings import LoopError, Settings
from tests.use_case import USE_CASE, copy_params

BY_EVENT = "train"
PROJECT = Path(__file__).parents[3]
STEPS = (
    "pipelines/ingestion/ingest", "pipelines/ingestion/validate",
    "pipelines/training/build_features", "features/online_publisher",
    "pipelines/training/workspace", "pipelines/training/dvc_stages",
    "pipelines/training/mlflow_tracking",
    "pipelines/registry/register", "pipelines/release/rollout_controller",
    "pipelines/training/training_outcome", "pipelines/retraining/monitor",
    "pipelines/runtime/retention", "serving/prediction_log/compaction",
)  # fmt: skip
RETRAIN, QUIET, TROUBLE, REFUSED, BUSY, KILLED, AFTER, HERE, AWAY = (
    f"2013-04-0{day}" for day in range(1, 10)
)
PAGE = 200  # the maximum number of runs in one answer of Prefect's server
PATIENCE = 90  # seconds; Prefect waits up to 60 for a lock of its SQLite
PLAN = {
    f"{TROUBLE}/fetch_due_batches": "unreachable once",
    f"{TROUBLE}/publish_features": "refuse",
    f"{REFUSED}/second": "refuse",
    f"{BUSY}/first": "await go-on",
    f"{KILLED}/first": "await nothing",
    f"{AWAY}/monitor_champion": "await away",
}
STAND_IN = """
import json, os, re, time
from pathlib import Path
from settings import LoopError

PLAN = json.loads(os.environ["STEPS_PLAN"])
LOG = Path(os.environ["MLOPS_HOME"]) / "var" / "steps.jsonl"

def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *given, **named: act(
        name, [each for each in (*given, *named.values()) if type(each).__name__ != "Settings"]
    )

def act(name, given):
    day = re.search(r"2013-04-\\d\\d", f"{given}  {given[0]}")
    step = f"{day[0] if day else ''}/{given[1] if name == 'run_stage' else name}"
    before = LOG.read_text() if LOG.exists() else ""
    with LOG.open("a") as log:
        log.write(json.dumps({"step": step, "given": repr(given)}) + "\\n")
    kind, _, much = PLAN.get(step, "go").partition(" ")
    if kind == "await":
        while not LOG.with_name(much).exists():
            time.sleep(0.05)
    elif kind == "unreachable" and f'"{step}"' not in before:
        raise OSError("the source is unreachable")
    elif kind == "refuse":
        raise LoopError(f"{step} is refused")
    return {
        "open_workspace": given[0].isoformat() if name == "open_workspace" else None,
        "recipe_stages": {"first": ["zeroth"], "second": [], "third": []},
        "register_version": {"version": "7", "why": "passed"},
        "monitor_champion": {
            "retrain": step.startswith(("2013-04-01", "2013-04-09")), "reason": "calibration 0.04",
            "as_of": f"{day[0]}T00:00:00+00:00" if day else "",
            "codes": ["calibration_gap"], "decision_id": f"decision of {day[0]}" if day else "",
        },
    }.get(name, {"step": step})
"""


CALLS = f"""
from datetime import UTC, datetime
from pipelines.flows import flows, flow_runs
from settings import LoopError

with flow_runs.flows_in_this_process():
    print(flows.ingest_flow(as_of=datetime(2013, 4, 8, tzinfo=UTC))["built"])
    try:
        flows.train_flow(as_of=datetime.fromisoformat("{REFUSED}T00:00:00Z"))
    except LoopError as error:
        print(error)
"""


class Loop:
    """A Prefect server and a runner in their own home."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, prefect_port=free_port(), service_port=free_port())
        copy_params(self.settings)
        steps = home / "steps"
        for step in STEPS:
            path = steps / f"{step}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(STAND_IN)
            # Modules without a stand-in are the real ones.
            for package in [*Path(step).parents][:-1]:
                folders = f"__path__ = [__path__[0], {str(PROJECT / package)!r}]\n"
                (steps / package / "__init__.py").write_text(folders)
        self.environment = {
            **prefect_commands.prefect_environment(self.settings),
            "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "2",
            "PYTHONPATH": os.pathsep.join(
                map(str, (steps, PROJECT, PROJECT / "tests" / "startup"))
            ),
            "STEPS_PLAN": json.dumps(PLAN),
        }

    def start(self, name: str, command: list[str]) -> child_processes.Child:
        # Python searches the current folder before the stand-ins, so it must not be the project.
        with chdir(self.settings.home):
            return child_processes.start_child(self.settings, name, command, self.environment)

    def start_server(self) -> None:
        child = self.start("prefect-server", prefect_commands.prefect_server_command(self.settings))
        server_health.wait_until_healthy(child, f"{self.settings.prefect_url}/health", 240)

    def start_runner(self, *, schedules_active: bool) -> None:
        from pipelines.flows import flow_runs

        since = datetime.now(UTC)
        command = prefect_commands.flow_runner_command(schedules_active=schedules_active)
        child = self.start("prefect-runner", command)
        flow_runs.wait_for_runner(
            self.settings, since, 180, lambda: server_health.require_alive(child)
        )

    def ask(self, flow: str, day: str | None = None) -> UUID:
        """Request a run of `flow` as its schedule does, or with `day` as its `as_of`."""
        from pipelines.flows import flow_runs

        parameters = {"as_of": f"{day}T00:00:00Z"} if day else {}
        with flow_runs.prefect_client(self.settings) as client:
            deployment = client.read_deployment_by_name(f"{flow}/{USE_CASE.name}")
            return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id

    def end(self, run_id: UUID) -> tuple[str, str]:
        """Return the name and the message of the run's final state."""
        from pipelines.flows import flow_runs

        for _ in flow_runs.follow_run(self.settings, run_id, 180):
            continue
        with flow_runs.prefect_client(self.settings) as client:
            state = client.read_flow_run(run_id).state
        return str(state.name), str(state.message)

    def steps(self, day: str) -> list[str]:
        """Return the steps that ran for `day`, in order."""
        log = self.settings.var / "steps.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        taken = [json.loads(line)["step"] for line in lines]
        return [step.removeprefix(f"{day}/") for step in taken if step.startswith(day)]

    def train_runs(self, day: str) -> list[dict[str, Any]]:
        """Return the train runs as of `day` that the automation created."""
        answer = httpx.post(
            f"{self.settings.prefect_url}/flow_runs/filter",
            json={"flows": {"name": {"any_": ["train"]}}},
            timeout=PATIENCE,
        )
        # A scheduled run has no parameters; a run requested by hand has no author.
        of_day = [
            run for run in answer.json()
            if str(run["parameters"].get("as_of")).startswith(day)
        ]  # fmt: skip
        return [run for run in of_day if (run["created_by"] or {}).get("type") == "AUTOMATION"]

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """Open the server's database, to change times and many rows, which its API can't."""
        path = self.settings.var / "prefect" / "prefect.db"
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as opened, opened:
            yield opened


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until(true: Callable[[], bool], timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    made = Loop(tmp_path_factory.mktemp("home"))
    try:
        made.start_server()
        made.start_runner(schedules_active=False)
        yield made
    finally:
        child_processes.stop_children(made.settings)


@pytest.fixture(scope="module")
def requested(loop: Loop) -> dict[str, UUID]:
    """Start independent runs at the same time."""
    return {
        day: loop.ask(flow, day)
        for flow, day in (("monitor", QUIET), ("ingest", TROUBLE), ("train", REFUSED))
    }


def test_a_flow_called_as_a_function_gives_its_result_or_the_error_of_its_step(loop: Loop) -> None:
    environment = {
        **os.environ, **loop.settings.environment(), **loop.environment,
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }  # fmt: skip
    called = subprocess.run(
        [sys.executable, "-c", CALLS], env=environment, cwd=loop.settings.home,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    expected = [f"{{'step': '{HERE}/build_feature_tables'}}", f"{REFUSED}/second is refused"]
    assert called.stdout.splitlines() == expected
    assert called.stderr == ""


def test_the_log_is_compacted_by_a_flow_of_its_own(loop: Loop) -> None:
    assert loop.end(loop.ask("compact"))[0] == "Completed"
    taken = (loop.settings.var / "steps.jsonl").read_text().splitlines()
    (given,) = [
        each["given"] for each in map(json.loads, taken) if each["step"].endswith("/compact_log")
    ]
    assert str(loop.settings.predictions) in given


def test_no_event_when_the_decision_is_no(loop: Loop, requested: dict[str, UUID]) -> None:
    assert loop.end(requested[QUIET])[0] == "Completed"
    assert loop.steps(QUIET) == ["monitor_champion", "control_rollout"]
    assert loop.train_runs(QUIET) == []


def test_network_trouble_is_retried_and_a_refusal_is_not(
    loop: Loop, requested: dict[str, UUID]
) -> None:
    name, message = loop.end(requested[TROUBLE])
    assert (name, "publish_features is refused" in message) == ("Failed", True)
    assert loop.steps(TROUBLE) == [
        "fetch_due_batches", "fetch_due_batches", "validate_new_batches", "build_feature_tables",
        "publish_features",
    ]  # fmt: skip


def test_a_stage_that_fails_fails_the_flow_and_later_ones_are_not_run(
    loop: Loop, requested: dict[str, UUID]
) -> None:
    name, message = loop.end(requested[REFUSED])
    assert (name, "second is refused" in message) == ("Failed", True)
    assert loop.steps(REFUSED)[-4:] == ["open_workspace", "recipe_stages", "first", "second"]
    assert "third" not in loop.steps(REFUSED)


def test_the_event_of_a_decision_starts_one_training_with_typed_parameters(loop: Loop) -> None:
    from pipelines.flows import flow_runs

    monitor = loop.ask("monitor", RETRAIN)
    assert loop.end(monitor)[0] == "Completed"
    (run,) = loop.train_runs(RETRAIN)
    lines = list(flow_runs.follow_retraining(loop.settings, {"run_id": run["id"]}, 60))
    assert lines[-1] == f"flow run {RETRAIN} 00:00:00+00:00 calibration 0.04: Completed"
    stages = [line for line in lines if line.endswith(("first: Completed", "third: Completed"))]
    assert stages == ["first: Completed", "third: Completed"]
    assert run["parameters"]["decision_id"] == f"decision of {RETRAIN}"
    assert run["parameters"]["codes"] == "calibration_gap"
    assert loop.steps(RETRAIN) == [
        "monitor_champion", "control_rollout", "open_workspace", "recipe_stages", "first",
        "second", "third", "push_outputs", "log_training", "register_version", "write_outcome",
    ]  # fmt: skip
    given = (loop.settings.var / "steps.jsonl").read_text()
    assert "[datetime.datetime(2013, 4, 1, 0, 0, tzinfo=datetime.timezone.utc)]" in given


def test_of_ten_events_at_once_one_trains_and_the_rest_are_cancelled(loop: Loop) -> None:
    events = [wanted(BUSY, str(number)) for number in range(10)]
    # Send the last event twice: the server deduplicates it.
    httpx.post(
        f"{loop.settings.prefect_url}/events", json=[*events, events[-1]], timeout=PATIENCE
    ).raise_for_status()
    wait_until(lambda: states_of(loop, BUSY) == [*["Cancelled"] * 9, "Running"])
    (loop.settings.var / "go-on").touch()
    wait_until(lambda: states_of(loop, BUSY) == [*["Cancelled"] * 9, "Completed"])
    assert loop.steps(BUSY).count("open_workspace") == 1


def wanted(day: str, decision: str) -> dict[str, Any]:
    """Return the event of a decision to retrain, as monitoring emits it."""
    return {
        "id": str(uuid4()), "event": "mlops.retrain.wanted",
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"mlops.model.{USE_CASE.name}"},
        "payload": {
            "as_of": f"{day}T00:00:00Z", "reason": "drift", "codes": "drift",
            "decision_id": decision,
        },
    }  # fmt: skip


def states_of(loop: Loop, day: str) -> list[str]:
    return sorted(run["state_name"] for run in loop.train_runs(day))


@pytest.mark.long
def test_an_event_sent_during_a_server_outage_is_not_lost(loop: Loop) -> None:
    monitor = loop.ask("monitor", AWAY)
    wait_until(lambda: "monitor_champion" in loop.steps(AWAY))
    kill(loop, "prefect-server")
    (loop.settings.var / "away").touch()
    wait_until(lambda: "control_rollout" in loop.steps(AWAY))
    time.sleep(15)  # longer than Prefect's client keeps an event
    loop.start_server()
    wait_until(lambda: states_of(loop, AWAY) == ["Completed"], timeout=120)
    assert loop.end(monitor)[0] == "Completed"
    assert states_of(loop, AWAY) == ["Completed"], "one event, however often it was sent"


def kill(loop: Loop, name: str = "") -> None:
    """Kill the child `name`, or all, with their descendants, so that the server gets no report."""
    for record in json.loads((loop.settings.state / "children.json").read_text()):
        if name in ("", record["name"]) and psutil.pid_exists(record["pid"]):
            process = psutil.Process(record["pid"])
            for each in [process, *process.children(recursive=True)]:
                each.send_signal(signal.SIGKILL)


@pytest.mark.long
def test_runs_left_by_a_kill_are_crashed_and_their_slot_is_free(loop: Loop) -> None:
    from pipelines.flows import flow_runs, leftover_runs

    killed = loop.ask("train", KILLED)
    wait_until(lambda: "first" in loop.steps(KILLED))
    kill(loop)  # everything at once, like a machine failure
    child_processes.stop_children(loop.settings)
    loop.start_server()
    waiting = loop.ask("train", AFTER)
    with flow_runs.prefect_client(loop.settings) as client:
        assert client.read_flow_run(killed).state_type == "RUNNING"
    assert len(leftover_runs.end_leftover_runs(loop.settings)) == 2
    assert loop.end(killed)[0] == "Crashed"
    assert loop.end(waiting)[0] == "Cancelled"
    loop.start_runner(schedules_active=True)
    # The slot is free for the next event and for a request by hand.
    event = [wanted(AFTER, "the next")]
    httpx.post(
        f"{loop.settings.prefect_url}/events", json=event, timeout=PATIENCE
    ).raise_for_status()
    wait_until(lambda: states_of(loop, AFTER) == ["Completed"])
    assert loop.end(loop.ask("train", AFTER))[0] == "Completed"


@pytest.mark.long  # uses the state of the test before
def test_deploying_again_leaves_one_automation_and_one_schedule_each(loop: Loop) -> None:
    # The test before started a second runner.
    url = loop.settings.prefect_url
    automations = httpx.post(f"{url}/automations/filter", json={}).json()
    assert all(each["enabled"] for each in automations)
    assert [each["trigger"]["expect"] for each in automations] == [["mlops.retrain.wanted"]]
    wanted = loop.settings.params()["schedules"]
    for deployment in httpx.post(f"{url}/deployments/filter", json={}).json():
        flow = httpx.get(f"{url}/flows/{deployment['flow_id']}").json()["name"]
        if flow not in wanted:
            assert (flow, deployment["schedules"]) == (BY_EVENT, [])
            continue
        (schedule,) = deployment["schedules"]
        assert schedule["active"]
        assert schedule["schedule"]["cron"] == wanted.pop(flow)
        assert schedule["schedule"]["timezone"] not in (None, "UTC")
    assert wanted == {}


def test_a_scheduled_run_is_cancelled_while_another_run_is_active(loop: Loop) -> None:
    from pipelines.runtime import exclusive

    with exclusive.run_lock(loop.settings):
        yielding = [loop.ask(flow) for flow in ("ingest", "train", "monitor", "rollout", "clean")]
        for run_id in yielding:
            name, message = loop.end(run_id)
            assert (name, "Another run is active" in message) == ("Cancelled", True)
    taken, kept = len(loop.steps("2013-04-01")), results(loop)
    assert loop.end(loop.ask("ingest"))[0] == "Completed"
    # The simulated clock has just started at the parameters' `as_of`.
    assert loop.steps("2013-04-01")[taken:] == [
        "fetch_due_batches",
        "validate_new_batches",
        "build_feature_tables",
        "publish_features",
    ]
    assert results(loop) == kept, "a frequent flow persists no results"


def results(loop: Loop) -> int:
    return len(list((loop.settings.var / "prefect" / "storage").glob("*")))


def test_the_server_removes_old_runs_that_have_ended_and_no_others(loop: Loop) -> None:
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Completed, Running

    from pipelines.flows import flow_runs

    long_ago = datetime.now(UTC) - timedelta(days=loop.settings.params()["retention"]["runs_days"])
    with flow_runs.prefect_client(loop.settings) as client:
        old, recent = (create(client, Completed()) for _ in range(2))
        endless = create(client, Running())
        before, after = (
            f"{long_ago + timedelta(hours=hours):%Y-%m-%d %H:%M:%S.%f}" for hours in (-1, 1)
        )
        with loop.database() as rows:
            began = "UPDATE flow_run SET start_time = ? WHERE id = ?"
            ended = "UPDATE flow_run SET end_time = ? WHERE id = ?"
            rows.execute(began, (before, str(endless)))
            rows.executemany(ended, [(after, str(recent)), (before, str(old))])

        def gone() -> bool:
            try:
                client.read_flow_run(old)
            except ObjectNotFound:
                return True
            return False

        wait_until(gone, timeout=30)
        assert client.read_flow_run(recent).state_type == "COMPLETED"
        assert client.read_flow_run(endless).state_type == "RUNNING"
        client.delete_flow_run(endless)


def create(client: Any, state: Any, **parameters: Any) -> UUID:
    """Create a run of a flow that no runner serves; return its id."""
    from prefect import flow

    nobody = flow(lambda: None, name="of-nobody")
    found: UUID = client.create_flow_run(nobody, parameters=parameters, state=state).id
    return found


def test_a_crashed_run_is_found_behind_more_runs_than_a_page_holds(loop: Loop) -> None:
    from prefect.states import Running, Scheduled

    from pipelines.flows import flow_runs, leftover_runs

    now = datetime.now(UTC)
    with flow_runs.prefect_client(loop.settings) as client:
        crashed = create(client, Running())
        late = [
            create(client, Scheduled(scheduled_time=now - timedelta(hours=hours)), hours=hours)
            for hours in (3, 2, 1)
        ]
        later = create(client, Scheduled(scheduled_time=now + timedelta(days=1)))
        with loop.database() as rows:
            rows.execute("UPDATE flow_run SET auto_scheduled = 1 WHERE state_type = 'SCHEDULED'")
            made = "CREATE TEMP TABLE more AS SELECT * FROM flow_run WHERE id = ?"
            rows.execute(made, (str(later),))
            for _ in range(PAGE):
                rows.execute("UPDATE more SET id = ?", (str(uuid4()),))
                rows.execute("INSERT INTO flow_run SELECT * FROM more")
        since = now - timedelta(hours=4)
        assert (
            flow_runs.wait_for_requested_run(loop.settings, "of-nobody", {"hours": 3}, since, 20)
            == late[0]
        )
        ended = leftover_runs.end_leftover_runs(loop.settings)
        states = [client.read_flow_run(each).state_type for each in (crashed, *late, later)]
    # Of the missed scheduled runs the newest stays, and so do future ones.
    assert states == ["CRASHED", "CANCELLED", "CANCELLED", "SCHEDULED", "SCHEDULED"]
    assert len(ended) < PAGE


@pytest.mark.parametrize("name", ["alert", "train"])
def test_the_deployment_of_a_retired_flow_goes_with_its_automation(loop: Loop, name: str) -> None:
    from prefect import flow
    from prefect.events import DeploymentEventTrigger
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from pipelines.flows import deployments, flow_runs

    def alerting() -> list[Any]:
        found = httpx.post(f"{loop.settings.prefect_url}/automations/filter", json={}).json()
        return [each for each in found if each["name"] == "record an alert"]

    trigger = DeploymentEventTrigger(name="record an alert", expect={"mlops.alert.firing"})
    of_old = flow(test_an_unreachable_server_is_reported_with_a_remedy, name=name)
    with temporary_settings({PREFECT_API_URL: loop.settings.prefect_url}):
        of_old.to_deployment("loop", triggers=[trigger]).apply()
    assert alerting()
    for _ in range(2):
        deployments.delete_retired_deployments(loop.settings)
        assert alerting() == []
    with flow_runs.prefect_client(loop.settings) as client, pytest.raises(ObjectNotFound):
        client.read_deployment_by_name(f"{name}/loop")


def test_an_unreachable_server_is_reported_with_a_remedy() -> None:
    from pipelines.flows import flow_runs

    settings = Settings(prefect_port=free_port())
    with pytest.raises(LoopError, match=r"does not answer.*MLOPS_PREFECT_PORT"):
        flow_runs.require_server(settings)
