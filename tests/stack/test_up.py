"""The stack starts on empty volumes, and a replica that dies loses no request."""

import threading
import time
from collections import Counter

import httpx
import pytest

from tests.stack.conftest import Stack, docker

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]


def test_before_the_first_release_it_says_what_is_missing(running: Stack) -> None:
    assert httpx.get(running.url("SERVICE", "/livez"), trust_env=False).status_code == 200
    answer = httpx.get(running.url("SERVICE", "/readyz"), trust_env=False)
    assert answer.status_code == 503
    assert "no model yet" in answer.text


@pytest.mark.parametrize(("name", "path"), [
    ("MLFLOW", "/"), ("PREFECT", "/"), ("PREFECT", "/api/ready"), ("EVIDENTLY", "/"),
    ("PROMETHEUS", "/-/ready"), ("ALERTMANAGER", "/-/ready"),
])  # fmt: skip
def test_its_pages_answer_on_the_loopback(running: Stack, name: str, path: str) -> None:
    answer = httpx.get(running.url(name, path), trust_env=False, follow_redirects=True)
    assert answer.status_code == 200


def test_mlflow_refuses_a_host_that_is_not_its_own(running: Stack) -> None:
    url = running.url("MLFLOW", "/api/2.0/mlflow/experiments/search?max_results=1")
    answer = httpx.get(url, headers={"Host": "elsewhere.example"}, trust_env=False)
    assert answer.status_code == 403


def test_prefects_pages_call_the_address_that_the_browser_sees(running: Stack) -> None:
    settings = httpx.get(running.url("PREFECT", "/ui-settings"), trust_env=False).json()
    port = running.environment["MLOPS_PREFECT_PORT"]
    assert settings["api_url"] == f"http://localhost:{port}/api"


def test_redis_and_postgres_require_their_passwords(running: Stack) -> None:
    assert "NOAUTH" in running.compose("exec", "-T", "redis", "redis-cli", "ping")
    wrong = "PGPASSWORD=wrong psql -h 127.0.0.1 -U feast -d feast -c 'SELECT 1' 2>&1 || true"
    assert "authentication failed" in running.compose("exec", "-T", "postgres", "sh", "-c", wrong)
    foreign = (
        "PGPASSWORD=$FEAST_DB_PASSWORD psql -h 127.0.0.1 -U feast -d mlflow -c '' 2>&1 || true"
    )
    assert "permission denied" in running.compose("exec", "-T", "postgres", "sh", "-c", foreign)


def test_no_database_depends_on_the_version_of_a_locale(running: Stack) -> None:
    def ask(query: str) -> str:
        return running.compose(
            "exec", "-T", "postgres", "psql", "-U", "postgres", "-Atc", query
        ).strip()  # fmt: skip

    assert ask("SELECT datname FROM pg_database WHERE datcollversion IS NOT NULL") == ""
    assert ask("SELECT x FROM unnest(ARRAY['ab', 'a-b', 'A']) x ORDER BY x") == "A\na-b\nab"


def test_all_replicas_answer_and_a_killed_one_loses_no_request(running: Stack) -> None:
    running.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "api=3", "api")
    time.sleep(2)  # the proxy resolves the names every second
    answered, served = Counter[int](), Counter[str]()
    killed, done = threading.Event(), threading.Event()
    token = running.compose("exec", "-T", "worker", "printenv", "MLOPS_TOKEN").strip()
    who = {"Authorization": f"Bearer {token}"}

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=60, headers=who) as client:
            while not done.is_set():
                # Only the service itself answers an empty case with 400.
                answer = client.post(running.url("SERVICE", "/predict"), json={})
                answered[answer.status_code] += 1
                if not killed.is_set():
                    served[answer.headers["X-Served-By"]] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(5)
    killed.set()
    docker("kill", running.compose("ps", "--quiet", "api").split()[0])
    time.sleep(10)
    done.set()
    for thread in threads:
        thread.join()
    assert len(served) == 3, served
    assert set(answered) == {400}, answered
