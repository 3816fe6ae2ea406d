"""Alerts from a metric to a line on the disk, and metrics from traffic to every dashboard.

Prometheus, Alertmanager, Prefect's server and runner, `mlops watch` and the service are real. The
configuration is the stack's, with other addresses and shorter waits. `FakeMetrics` serves the
metrics of missing parts.
"""

import contextlib
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from features import publication_record
from monitoring import retraining_decision
from monitoring.retraining_triggers import MonitoringEvidence
from pipelines.operations import alerts
from pipelines.runtime import clock, prefect_commands
from pipelines.training import training_outcome
from serving.command import serve_command, serve_environment
from serving.models.evaluator import export_model
from serving.release.document import Release, ServedModel, write_release
from settings import Settings
from tests.use_case import CATEGORIES, FEATURES, USE_CASE, copy_params

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
STACK = ROOT / "monitoring" / "stack"
AS_OF = datetime(2013, 4, 1, tzinfo=UTC)
APPLY = (
    "import settings; from features.feast_store import apply_definitions;"
    "apply_definitions(settings.load_settings())"
)
# These panels are empty while all is well.
MAY_BE_EMPTY = {"Alerts that fire"}


def free_port() -> int:
    """Return a port below the system's automatic range: it is used only a minute later."""
    while True:
        port = random.randint(20000, 30000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(holds: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := holds():
                return found
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


class FakeMetrics(BaseHTTPRequestHandler):
    """Serves the metrics that a test sets."""

    lines = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(FakeMetrics.lines.encode())

    def log_message(self, *_: Any) -> None: ...


class System:
    """All processes and containers of the test, in their own home."""

    def __init__(self, home: Path) -> None:
        self.home, self.processes, self.containers = home, {}, []  # type: ignore[var-annotated]
        self.port = {name: free_port() for name in ("watch", "prometheus", "alertmanager")}
        self.settings = Settings(home=home, prefect_port=free_port(), service_port=free_port())
        copy_params(self.settings)
        names = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
        self.environment = {
            **names, **self.settings.environment(),
            **prefect_commands.prefect_environment(self.settings),
            "PYTHONPATH": str(ROOT), "PREFECT_SERVER_METRICS_ENABLED": "true",
        }  # fmt: skip

    def start(self, name: str, command: list[str], **variables: str) -> None:
        with (self.home / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment | variables, cwd=self.home, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def start_prefect(self) -> None:
        self.start("server", prefect_commands.prefect_server_command(self.settings))
        until(lambda: self.get(f"{self.settings.prefect_url}/ready"), "Prefect's server")
        self.start("runner", prefect_commands.flow_runner_command(schedules_active=False))

    def contain(self, image: str, file: str, content: Any, *arguments: str) -> None:
        path = self.home / file.rpartition("/")[2]
        path.write_text(yaml.safe_dump(content))
        mounts = ["-v", f"{path}:{file}:ro"]
        if "prometheus" in image:
            mounts += ["-v", f"{self.home / 'rules.yml'}:/etc/prometheus/rules.yml:ro"]
        done = subprocess.run(
            ["docker", "run", "-d", "--network", "host", *mounts, image, f"--config.file={file}",
             *arguments], text=True, capture_output=True, check=True,
        )  # fmt: skip
        self.containers.append(done.stdout.strip())

    def end(self) -> None:
        for container in self.containers:
            subprocess.run(["docker", "rm", "-fv", container], capture_output=True, check=False)
        for name in [*self.processes]:
            self.stop(name)

    def get(self, url: str) -> Any:
        answer = httpx.get(url, timeout=10, trust_env=False)
        return answer if answer.is_success else None

    def query(self, text: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.port['prometheus']}/api/v1/query"
        answer = httpx.get(url, params={"query": text}, timeout=10, trust_env=False).json()
        assert answer["status"] == "success", (text, answer)
        return list(answer["data"]["result"])

    def lines(self, name: str, status: str, label: str = "") -> list[dict[str, Any]]:
        return [
            line for line in alerts.read_alerts(self.settings)
            if (line["name"], line["status"]) == (name, status) and label in line["labels"]
        ]  # fmt: skip

    def of_prefect(self, path: str, body: Any) -> Any:
        url = f"{self.settings.prefect_url}/{path}/filter"
        return httpx.post(url, json=body, timeout=10, trust_env=False).raise_for_status().json()


def release_champion(settings: Settings) -> None:
    """Write a released model that the service can load."""
    rng = np.random.default_rng(1)
    numbers = [name for name in FEATURES if name not in CATEGORIES][:3]
    frame = pd.DataFrame(rng.normal(size=(200, 3)), columns=numbers)
    encode = make_column_transformer((SimpleImputer(), numbers))
    model = make_pipeline(encode, LogisticRegression()).fit(frame, rng.integers(0, 2, 200))
    folder = settings.state / "models" / "1"
    digest = export_model(model, folder / "served")
    (folder / "card.json").write_text(json.dumps({"candidate": "logistic_regression"}))
    served = ServedModel("1", digest, "../models/1/served", 0.2)
    write_release(settings, Release(1, served, datetime.now(UTC)))


def write_loop_state(settings: Settings) -> None:
    """Write what the loop leaves: the clock, publication, a training, a monitoring result."""
    clock.advance_to(settings, AS_OF)
    settings.online_file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(settings.online_file)) as store, store:
        store.execute(f"CREATE TABLE {publication_record.RECORD} ({publication_record.FIELD} TEXT)")
        store.execute(f"INSERT INTO {publication_record.RECORD} VALUES (?)", (AS_OF.isoformat(),))  # noqa: S608
    path = settings.state / "training" / "20130401T0000-0"
    (path / "data" / USE_CASE.name / "training").mkdir(parents=True)
    manifest = path / "data" / USE_CASE.name / "training" / "manifest.json"
    manifest.write_text(json.dumps({"as_of": AS_OF.isoformat()}))
    training_outcome.write_outcome(
        settings, path, {"version": "1", "why": "passed", "verdicts": []}, {"before": None},
        "first", ["first_model"],
    )  # fmt: skip
    live = {"cost_per_1000": 400.0, "calibration_gap": 0.01, "coverage": 0.98,
            "cost_without": 700.0, "cost_low": 380.0, "cost_high": 420.0, "bias": 0.01,
            "bias_low": -0.01, "bias_high": 0.03, "saving": 0.43, "saving_low": 0.4,
            "saving_high": 0.46}  # fmt: skip
    moved = {"score": 0.1, "limit": 0.5, "drifted": False}
    drift = {"share": 0.1, "missing_change": 0.0, "prediction": moved, "target": None,
             "features": {}}  # fmt: skip
    decision = retraining_decision.decide_retraining(
        MonitoringEvidence(
            champion="1", data_until=AS_OF, n_labelled=5000, live=live, expected=live, drift=drift
        ),
        settings.params()["monitoring"]["policy"],
        AS_OF,
    )
    result = {
        **decision, "live": live, "expected": live, "drift": drift, "problems": [],
        "label_coverage": 0.98, "delay_hours": 6.0, "slices": [], "estimated": 390.0,
    }  # fmt: skip
    (settings.state / "monitoring").mkdir()
    (settings.state / "monitoring" / "20130401T0000.json").write_text(json.dumps(result))


def prometheus(system: System, far: int) -> dict[str, Any]:
    """Return the stack's configuration with this test's addresses and shorter waits."""
    rules = yaml.safe_load((STACK / "rules.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        # Only this alert fires at once.
        rule |= {"for": "1s"} if rule.get("alert") == "PartDown" else {}
    (system.home / "rules.yml").write_text(yaml.safe_dump(rules))
    config: dict[str, Any] = yaml.safe_load((STACK / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "3s", "evaluation_interval": "1s"}
    ports = {
        "api": [system.settings.service_port], "watch": [system.port["watch"], far],
        "prefect": [system.settings.prefect_port], "prometheus": [system.port["prometheus"]],
        "alertmanager": [system.port["alertmanager"]],
    }  # fmt: skip
    for job in config["scrape_configs"]:
        targets = [f"127.0.0.1:{port}" for port in ports[job["job_name"]]]
        job.pop("dns_sd_configs", None)
        job |= {"static_configs": [{"targets": targets}]}
        job |= {"scrape_interval": "5s", "scrape_timeout": "5s"} if "scrape_timeout" in job else {}
    (target,) = config["alerting"]["alertmanagers"]
    target["static_configs"] = [{"targets": [f"127.0.0.1:{system.port['alertmanager']}"]}]
    return config


def alertmanager(system: System) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((STACK / "alertmanager.yml").read_text())
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "20s", "group_by": ["alertname", "part"]}
    for receiver in config["receivers"]:
        receiver["webhook_configs"][0]["url"] = f"http://127.0.0.1:{system.port['watch']}/alerts"
    return config


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    made = System(tmp_path_factory.mktemp("home"))
    far = ThreadingHTTPServer(("127.0.0.1", 0), FakeMetrics)
    thread = threading.Thread(target=far.serve_forever)
    thread.start()
    try:
        run_all(made, far.server_port)
        yield made
    finally:
        made.end()
        far.shutdown()
        thread.join()
        far.server_close()


def run_all(system: System, far: int) -> None:
    settings = system.settings
    subprocess.run(
        [sys.executable, "-c", APPLY], cwd=ROOT, env=system.environment, check=True
    )  # fmt: skip
    release_champion(settings)
    write_loop_state(settings)
    system.start_prefect()
    system.start("service", serve_command(settings), **serve_environment(settings))
    watch = [
        sys.executable,
        "-m",
        "pipelines.cli.main",
        "watch",
        "--port",
        str(system.port["watch"]),
    ]
    named = {"MLOPS_PREFECT_URL": settings.prefect_url, "MLOPS_SERVICE_URL": settings.service_url}
    system.start("watch", watch, **named)
    until(lambda: system.get(f"{settings.service_url}/readyz"), "the service")
    config, port = "/etc/alertmanager/alertmanager.yml", system.port["alertmanager"]
    system.contain(
        "prom/alertmanager:v0.28.1", config, alertmanager(system), "--storage.path=/alertmanager",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    )  # fmt: skip
    config, port = "/etc/prometheus/prometheus.yml", system.port["prometheus"]
    system.contain(
        "prom/prometheus:v2.53.3", config, prometheus(system, far),
        "--storage.tsdb.path=/prometheus", f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip
    until(lambda: system.get(f"http://127.0.0.1:{port}/-/ready"), "Prometheus")
    until(lambda: system.query("up") and not system.query("up == 0"), "all targets up")


def test_an_alert_and_its_end_are_written_to_the_disk(system: System) -> None:
    FakeMetrics.lines = 'mlops_up{part="postgres"} 0\nmlops_up{part="mlflow"} 0\n'
    [fired] = until(lambda: system.lines("PartDown", "firing", "part=postgres"), "the alert")
    assert fired["severity"] == "page"
    assert fired["summary"] == "postgres does not work"
    assert fired["runbook"] == "docs/runbooks.md#partdown"
    url = f"http://127.0.0.1:{system.port['alertmanager']}/api/v2/alerts"
    states = {a["labels"].get("part"): a["status"]["state"] for a in httpx.get(url).json()}
    assert states["mlflow"] == "suppressed", "the alert on postgres inhibits it"
    FakeMetrics.lines = 'mlops_up{part="postgres"} 1\nmlops_up{part="mlflow"} 1\n'
    [resolved] = until(lambda: system.lines("PartDown", "resolved", "part=postgres"), "its end")
    assert resolved["since"] == fired["since"]
    assert resolved["until"] > fired["since"]
    assert not system.lines("PartDown", "firing", "part=mlflow")
    output = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "alerts"], env=system.environment, text=True,
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert re.search(r"page +PartDown: postgres does not work \(resolved", output)


def test_the_same_notification_again_makes_no_other_event_or_line(system: System) -> None:
    [line] = system.lines("PartDown", "firing", "part=postgres")
    query = {"filter": {"event": {"name": ["mlops.alert.firing"]}}}
    given = {
        "status": "firing", "labels": {"alertname": "Twice", "severity": "ticket", "odd": '{"}\''},
        "startsAt": line["since"], "fingerprint": "abc", "annotations": {"summary": "{{ 1 }} \"'"},
    }  # fmt: skip
    url, body = f"http://127.0.0.1:{system.port['watch']}/alerts", {"version": "4"}
    sent: dict[str, Any] = {"url": url, "json": {**body, "alerts": [given, given]}, "timeout": 60}
    for _ in range(2):  # Alertmanager repeats it on a slow machine
        until(lambda: httpx.post(**sent).status_code == 200, "an answer")
    [twice] = system.lines("Twice", "firing")
    assert twice["summary"] == "{{ 1 }} \"'"
    assert twice["labels"] == "odd={\"}'"

    def ids() -> list[str]:
        return [event["id"] for event in system.of_prefect("events", query)["events"]]

    until(lambda: twice["id"] in ids(), "its event on the record")
    assert ids().count(twice["id"]) == 1


def test_every_query_of_the_dashboards_is_answered_with_data(system: System) -> None:
    body = {
        name: (field.get("examples") or field.get("enum") or [None])[0]
        for name, field in USE_CASE.request().model_json_schema()["properties"].items()
    }
    # This run fails, because no prediction has a label here.
    of_monitor = {"flows": {"name": {"any_": ["monitor"]}}}
    [monitor] = system.of_prefect("deployments", of_monitor)
    url = f"{system.settings.prefect_url}/deployments/{monitor['id']}/create_flow_run"
    # Prefect answers 503 while its SQLite is busy; its own client retries.
    until(lambda: httpx.post(url, json={"parameters": {}}).is_success, "a requested run")
    until(lambda: system.query('mlops_flow_failed{flow="monitor"}'), "a run that has ended")
    FakeMetrics.lines = 'mlops_up{part="postgres"} 1\n'
    empty: dict[str, str] = {}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        httpx.post(f"{system.settings.service_url}/predict", json=body).raise_for_status()
        time.sleep(0.5)
        empty = {
            f"{path.stem}: {panel['title']}": target["expr"]
            for path in sorted((STACK / "grafana" / "dashboards").glob("*.json"))
            for panel in json.loads(path.read_text())["panels"]
            for target in panel["targets"]
            if not system.query(target["expr"]) and panel["title"] not in MAY_BE_EMPTY
        }
        if not empty:
            break
    assert empty == {}


def test_an_alert_is_recorded_during_an_outage_of_prefect_and_its_event_follows(
    system: System,
) -> None:
    for name in ("runner", "server"):
        system.stop(name)
    FakeMetrics.lines = 'mlops_up{part="redis"} 0\n'
    [line] = until(lambda: system.lines("PartDown", "firing", "part=redis"), "the alert")
    until(lambda: system.query("mlops_alert_event_age_seconds > 0"), "the age of its event")
    system.start_prefect()
    query = {"filter": {"event": {"name": ["mlops.alert.firing"]}}}

    def ids() -> list[str]:
        return [event["id"] for event in system.of_prefect("events", query)["events"]]

    until(lambda: line["id"] in ids(), "its event on the record", 240)
    until(lambda: system.query("mlops_alert_event_age_seconds == 0"), "no event that waits")
