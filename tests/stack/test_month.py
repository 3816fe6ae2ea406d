"""A month replayed on the stack: trainings, releases, alerts and dashboards."""

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import slice_params
from tests.stack import conftest
from tests.stack.load import cases
from tests.stack.project import Stack
from tests.use_case import USE_CASE

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(4500)]

DASHBOARDS = conftest.ROOT / "monitoring" / "stack" / "grafana" / "dashboards"
REPLAY = ("run", "--rm", "-T", "loop", "mlops", "replay", "--to", slice_params.END, "--from")
MAY_BE_EMPTY = {"Alerts that fire"}
ALERTS = {
    "calibration": "CalibrationGap", "performance": "CostAboveExpected", "drift": "DriftShare",
    "target": "TargetDrift", "slices": "SliceMiscalibrated",
}  # fmt: skip


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """A separate stack after a replayed month, and the replay's output."""
    made = conftest.Stack(tmp_path_factory.mktemp("month"), slice_params.month_params())
    made.environment["MLOPS_LOOKUP_SECONDS"] = "30"  # the load of this machine must not matter
    stack = Stack(made.environment)
    try:
        made.compose("build", "api")
        made.compose("up", "--detach", "--wait")
        output = stack.compose(*REPLAY, slice_params.FIRST)
        print(output)
        yield stack, output
    finally:
        made.compose("--profile", "*", "down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="module")
def state(lived: tuple[Stack, str]) -> dict[str, Any]:
    return lived[0].state()


def of_prefect(stack: Stack, path: str, body: dict[str, Any]) -> Any:
    url = f"{stack.address('prefect', 4200)}/api/{path}/filter"
    return httpx.post(url, json=body, timeout=30, trust_env=False).raise_for_status().json()


def query(stack: Stack, text: str) -> list[dict[str, Any]]:
    url = stack.address("pages", 9090) + "/api/v1/query"
    answer = httpx.get(url, params={"query": text}, timeout=30, trust_env=False).json()
    assert answer["status"] == "success", (text, answer)
    return list(answer["data"]["result"])


def until(holds: Callable[[], Any], what: str, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(10)
    return found


def test_every_day_is_replayed_and_reported(
    lived: tuple[Stack, str], state: dict[str, Any]
) -> None:
    days = [each["day"] for each in state["days"]]
    assert (days[0], len(days)) == (slice_params.FIRST, 30)
    assert re.findall(r"^(\S+): \d+ cases", lived[1], re.MULTILINE) == days
    assert "| monitoring.policy |" in lived[1]


def test_triggers_started_trainings_on_the_worker_by_their_events(
    lived: tuple[Stack, str], state: dict[str, Any]
) -> None:
    trained_days = [each["day"] for each in state["days"] if each["trained"]]
    why = {name for each in state["days"] if each["trained"] for name in each["fired"]}
    assert {"schedule", "calibration"} <= why, why
    found = of_prefect(lived[0], "flow_runs", {"flows": {"name": {"any_": ["train"]}}})
    # Without the first model's run, which the replay requests itself, and the scheduled runs.
    ours = [
        run for run in found if run["work_pool_name"] == "loop" and not run["auto_scheduled"]
    ]  # fmt: skip
    assert sorted(run["parameters"]["as_of"][:10] for run in ours) == trained_days
    for run in ours:
        assert run["created_by"]["type"] == "AUTOMATION"
        assert run["state_type"] == "COMPLETED"
        assert run["parameters"]["decision_id"]
    wanted = {"filter": {"event": {"name": ["mlops.retrain.wanted"]}}}
    events = of_prefect(lived[0], "events", wanted)["events"]
    assert sorted(each["payload"]["as_of"][:10] for each in events) == trained_days


def test_a_version_went_through_shadow_and_canary_and_the_record_is_whole(
    lived: tuple[Stack, str], state: dict[str, Any]
) -> None:
    moves = [each["rollout"].partition(":")[0] for each in state["days"]]
    assert "advance" in moves
    assert sum(each["released"] for each in state["days"]) >= 1
    assert state["champion"] == state["served"] != "1"
    lived[0].compose("run", "--rm", "-T", "--no-deps", "loop", "mlops", "history", "--verify")


def test_prometheus_counted_what_the_log_holds(
    lived: tuple[Stack, str], state: dict[str, Any]
) -> None:
    assert sum(each["n"] for each in state["days"]) == len(state["logged"])
    assert len(set(state["keys"])) == len(state["logged"])
    counted = 'sum(predictions_total{job="api",outcome!="failed"})'

    def same() -> bool:
        return [float(each["value"][1]) for each in query(lived[0], counted)] == [
            len(state["logged"])
        ]

    until(same, f"{len(state['logged'])} predictions, and not {query(lived[0], counted)}", 60)


def test_the_last_alerts_of_the_month_came_through_alertmanager(
    lived: tuple[Stack, str], state: dict[str, Any]
) -> None:
    over = {
        ALERTS[each["name"]] for each in state["monitored"]["triggers"]
        if each["name"] in ALERTS and (each["value"] or 0.0) > each["limit"]
    }  # fmt: skip
    assert (
        "CostAboveExpected" in over
    )  # by its limit in sliced.py; other alerts depend on the month

    def read_alerts() -> str:
        return lived[0].compose("run", "--rm", "-T", "--no-deps", "loop", "mlops", "alerts")

    # Five minutes above its limit, plus Alertmanager's wait for others of the group.
    until(
        lambda: all(re.search(rf"ticket +{name}: ", read_alerts()) for name in over), f"{over}", 900
    )
    fired = {"filter": {"event": {"name": ["mlops.alert.firing"]}}}

    def named() -> set[str]:
        events = of_prefect(lived[0], "events", fired)["events"]
        return {event["payload"]["name"] for event in events}

    until(lambda: over <= named(), f"the events of {over}", 60)
    by_webhook = 'sum(alertmanager_notifications_total{integration="webhook"})'
    assert float(query(lived[0], by_webhook)[0]["value"][1]) >= 1


def test_every_query_of_the_dashboards_is_answered_with_data(lived: tuple[Stack, str]) -> None:
    stack, empty = lived[0], {"nothing": "asked"}
    bodies, who = cases(date.fromisoformat(slice_params.END), 1), f"Bearer {stack.token()}"
    panels = [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in sorted(DASHBOARDS.glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
        if panel["title"] not in MAY_BE_EMPTY
    ]
    deadline, url = time.monotonic() + 120, stack.address("proxy", 8080) + "/predict"
    while empty and time.monotonic() < deadline:
        # The replay sends batches. Half of the panels need single requests of users.
        for body in bodies[:20]:
            answer = httpx.post(url, json=body, headers={"Authorization": who}, trust_env=False)
            assert answer.status_code == 200, answer.text
        time.sleep(5)
        empty = {title: text for title, text in panels if not query(stack, text)}
    assert empty == {}


def test_another_first_day_is_refused(lived: tuple[Stack, str]) -> None:
    with pytest.raises(AssertionError, match="This stack lives a replay from 2013-01-19, not"):
        lived[0].compose(*REPLAY, "2013-01-20")


def test_the_replay_keeps_its_state_in_the_stack_and_not_in_its_own_home(
    lived: tuple[Stack, str],
) -> None:
    folder = f"/state/var/usecases/{USE_CASE.name}/replay"
    listed = lived[0].compose("exec", "-T", "worker", "find", folder, "-maxdepth", "1")
    assert {Path(line).name for line in listed.split()} >= {
        "days.jsonl",
        "meter.jsonl",
        "stack.json",
    }
    assert "served" not in {Path(line).name for line in listed.split()}
