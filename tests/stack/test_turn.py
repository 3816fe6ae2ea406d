"""One turn of the loop on the stack, with staging, replicas and faults; nothing is lost."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitoring.measures.serving_cost import sum_samples
from tests.stack.chaos import find_losses, run_faults
from tests.stack.faults import train_to_completion
from tests.stack.load import Load, cases
from tests.stack.project import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

DAY = date(2013, 1, 18)
REDUCED = [
    "kill -9 of an api replica", "Redis paused", "kill -9 of Postgres",
    "Postgres full of connections",
    "a replica's log disk full", "kill -9 of a controller at each of its steps",
    "kill -9 of the worker in a training",
]  # fmt: skip
PARTS = ("postgres", "redis", "mlflow", "prefect", "evidently", "service")


def test_the_turn_ends_with_a_retrained_model_that_every_service_answers_with(turned: Stack):
    state = turned.state()
    assert state["champion"] == state["served"] == "2"
    assert state["whole"] == {"1": True, "2": True}
    assert state["running"] == []
    assert len(state["outcomes"]) == 2
    assert len(state["logged"]) > 1000
    assert find_losses(state, []) == "nothing"
    for service, port in (("proxy", 8080), ("api-staging", 3000)):
        answer = httpx.get(turned.address(service, port) + "/release", trust_env=False).json()
        assert answer["version"] == "2"


def test_prometheus_sees_every_part_at_work_and_no_alert_on_them(turned: Stack):
    url = turned.address("pages", 9090) + "/api/v1/query"
    found: dict[str, str] = {}
    for _ in range(60):
        answer = httpx.get(url, params={"query": "mlops_up"}, trust_env=False).json()
        found = {each["metric"]["part"]: each["value"][1] for each in answer["data"]["result"]}
        if set(found) >= set(PARTS) and set(found.values()) == {"1"}:
            break
        time.sleep(2)
    assert found == dict.fromkeys(PARTS, "1")
    down = httpx.get(url, params={"query": "up == 0"}, trust_env=False).json()
    assert down["data"]["result"] == []


def test_no_release_without_staging(turned: Stack):
    turned.compose("stop", "api-staging")
    with pytest.raises(AssertionError, match="did not load version 1"):
        turned.compose("run", "--rm", "-T", "--no-deps", "loop", "mlops", "promote", "1")
    state = turned.state()
    assert state["champion"] == state["served"] == "2"
    turned.compose("up", "--detach", "--wait", "--no-recreate", "api-staging")


def test_three_replicas_share_the_requests_the_release_and_the_log(turned: Stack):
    turned.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "api=3", "api")
    time.sleep(2)  # the proxy resolves the names every second
    bodies = cases(DAY, 1)[:300]
    answers, served = _predict_all(turned, bodies, "shared")
    assert set(answers) == {"2"}
    assert len(served) == 3, served
    logged = turned.state()["logged"]
    assert {each for each in logged if each.startswith("shared-")} == {
        f"shared-{number}" for number in range(len(bodies))
    }
    assert len(logged) == len(set(logged))
    # A canary: a key has the same arm in every replica.
    _mlops(turned, "challenge", "1", "--canary", "30")
    time.sleep(2)
    first, served = _predict_all(turned, bodies, "canary")
    reversed_order, _ = _predict_all(turned, bodies[::-1], "canary-again")
    assert first == reversed_order[::-1]
    assert 50 < first.count("1") < 130, Counter(first)
    assert len(served) == 3, served
    _mlops(turned, "withdraw")
    # Back to version 1: all three replicas follow.
    _mlops(turned, "rollback", "--to", "1")
    assert [_version(turned, index) for index in (1, 2, 3)] == ["1", "1", "1"]
    _mlops(turned, "promote", "2", "--again")
    assert [_version(turned, index) for index in (1, 2, 3)] == ["2", "2", "2"]
    _mlops(turned, "history", "--verify")


def test_refusals_have_one_format_behind_the_proxy_too(turned: Stack):
    url, who = turned.address("proxy", 8080), {"Authorization": f"Bearer {turned.token()}"}
    [case] = cases(DAY, 1)[:1]
    kind = {"Content-Type": "application/json"}
    padded = {kib: json.dumps(case) + " " * 1024 * kib for kib in (100, 2000)}
    batch = json.dumps({"requests": cases(DAY, 1)[:200]}) + " " * 1024 * 300
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for request, status in (
            ({"url": "/predict", "json": case}, 401),
            ({"url": "/predict", "json": case, "headers": {"Authorization": "Bearer no"}}, 401),
            ({"url": "/feedback", "json": {}, "headers": who}, 403),
            ({"url": "/predict", "content": "{", "headers": who | kind}, 400),
            ({"url": "/predict", "content": "a", "headers": who}, 415),
            ({"url": "/predict", "content": padded[100], "headers": who | kind}, 413),
            ({"url": "/predict", "content": padded[2000], "headers": who | kind}, 413),
            ({"url": "/nowhere", "json": case, "headers": who}, 404),
        ):  # fmt: skip
            answer = client.post(**request)
            assert answer.status_code == status, (request["url"], answer.text[:300])
            refusal = answer.json()
            assert set(refusal) == {"error", "detail", "fields", "request_id"}
            assert refusal["request_id"]
        together = client.post("/predict_batch", content=batch, headers=who | kind)
        assert together.status_code == 200, together.text[:300]
        assert len(together.json()["predictions"]) == 200
        # The slice's champion is linear and has no trees to explain.
        why = client.post("/explain", json=case, headers=who)
        assert (why.status_code, why.json()["error"]) == (409, "not explained")
        hidden = client.get("/metrics")
        assert (hidden.status_code, hidden.json()["error"]) == (404, "unknown path")


@pytest.mark.parametrize(
    ("limit", "clients", "many", "why"),
    [
        # So many cases that the service, not the client, is the bottleneck.
        ({"MLOPS_REQUESTS_AT_ONCE": "2"}, 60, 200, "overloaded"),
        ({"MLOPS_REQUESTS_PER_SECOND": "1"}, 3, 1, "too many requests"),
    ],
)
def test_three_replicas_have_one_limit(
    turned: Stack, limit: dict[str, str], clients: int, many: int, why: str
):
    up = ("up", "--detach", "--wait", "--no-deps", "--scale", "api=3", "api", "proxy")
    turned.with_variables(**limit).compose(*up)
    try:
        time.sleep(2)  # the proxy resolves the names every second
        body, name = {"requests": cases(DAY, 1)[:many]}, why.split()[0]
        url, who = turned.address("proxy", 8080), {"Authorization": f"Bearer {turned.token()}"}
        refused_before, began = _count_refused(turned), time.monotonic()
        with ThreadPoolExecutor(clients) as threads:
            posted = [
                threads.submit(
                    _post_without_waiting,
                    httpx.Client(base_url=url, headers=who, trust_env=False, timeout=60),
                    body, f"{name}-{number}",
                )
                for number in range(clients)
            ]  # fmt: skip
        answers = [answer for each in posted for answer in each.result()]
        took = time.monotonic() - began
        counted = _count_refused(turned) - refused_before
    finally:
        turned.compose(*up)
    assert Counter(answer.status_code for answer in answers).keys() == {200, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.json()["error"] for answer in refused} == {why}
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    # One replica words and counts the refusal.
    assert all(answer.headers["X-Served-By"].count(":") == 1 for answer in refused)
    assert counted == (len(refused) if why == "overloaded" else 0)
    if why == "too many requests":  # all clients have one token, hence one bucket of two requests
        assert len(answers) - len(refused) <= 2 + took
    logged = [each for each in turned.state()["logged"] if each.startswith(name)]
    answered = [
        each["request_id"]
        for answer in answers if answer.status_code == 200
        for each in answer.json()["predictions"]
    ]  # fmt: skip
    assert sorted(logged) == sorted(answered)


def _mlops(stack: Stack, *command: str) -> None:
    why = [] if command[0] == "history" else ["--reason", "a test", "--by", "test"]
    stack.compose("run", "--rm", "-T", "--no-deps", "loop", "mlops", *command, *why)


def _predict_all(
    stack: Stack, bodies: list[dict[str, Any]], name: str
) -> tuple[list[str], Counter[str]]:
    """Return the version that answered each case, and the number of answers by replica."""
    versions, served = [], Counter[str]()
    url, who = stack.address("proxy", 8080), {"Authorization": f"Bearer {stack.token()}"}
    with httpx.Client(base_url=url, headers=who, trust_env=False) as client:
        for number, body in enumerate(bodies):
            answer = client.post(
                "/predict", json=body, headers={"X-Request-Id": f"{name}-{number}"}
            )
            assert answer.status_code == 200, answer.text
            versions.append(answer.json()["model_version"])
            served[answer.headers["X-Served-By"]] += 1
    return versions, served


def _post_without_waiting(
    client: httpx.Client, body: dict[str, Any], name: str
) -> list[httpx.Response]:
    """Return the answers to a client that ignores `Retry-After`."""
    with client:
        return [
            client.post("/predict_batch", json=body, headers={"X-Request-Id": f"{name}-{number}"})
            for number in range(20)
        ]


def _metrics(stack: Stack, index: int) -> dict[str, float]:
    ask = "import urllib.request as r; print(r.urlopen('http://localhost:3000/metrics').read().decode())"
    return sum_samples(
        stack.compose("exec", "-T", "--index", str(index), "api", "python", "-c", ask)
    )


def _count_refused(stack: Stack) -> float:
    pages = [_metrics(stack, index) for index in (1, 2, 3)]
    return sum(page.get("service_overloaded_total", 0) for page in pages)


def _version(stack: Stack, index: int) -> str:
    """Return the version of a replica two seconds after a release; it polls twice a second."""
    time.sleep(2 if index == 1 else 0)
    ask = "import json, urllib.request as r; print(json.load(r.urlopen('http://localhost:3000/release'))['version'])"
    return stack.compose(
        "exec", "-T", "--index", str(index), "api", "python", "-c", ask
    ).strip()  # fmt: skip


@pytest.mark.parametrize("fault", REDUCED)
def test_the_stack_survives(turned: Stack, fault: str):
    assert run_faults(turned, [fault], DAY)


if "ENGINE_UP" in os.environ:  # set by a caller who started the engine and allows its kill

    def test_a_power_cut_loses_no_acknowledged_prediction(turned: Stack):
        """kill -9 of the engine with all its containers; they return when it starts again."""
        with Load(turned.address("proxy", 8080), cases(DAY), turned.token()) as load:
            load.wait_until_served(time.monotonic(), 120)
            time.sleep(3)
            engine = int(Path("/var/run/docker.pid").read_text())
            os.kill(engine, signal.SIGKILL)
            time.sleep(3)
            subprocess.run([os.environ["ENGINE_UP"]], check=True, capture_output=True)
            for service in turned.compose("ps", "--services").split():
                turned.healthy(service, 400)
        assert find_losses(turned.state(), load.acknowledged) == "nothing"
        assert "ran through" in train_to_completion(turned)
