"""Metrics of `mlops watch` with broken parts and files, and the alerts that it accepts."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pipelines.operations import alerts, loop_metrics, probes
from pipelines.operations.metric_samples import MetricSample
from pipelines.operations.watch import MAX_BODY_BYTES, WatchServer
from pipelines.runtime import clock, prefect_commands
from settings import LoopError, Settings, UserError
from tests.use_case import copy_params

ROOT = Path(__file__).parents[3]
FIRING: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "PartDown", "severity": "page", "part": "redis", "job": "watch"},
    "annotations": {"summary": "redis is down", "runbook_url": "docs/runbooks.md#partdown"},
    "startsAt": "2026-11-21T09:00:00.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "fingerprint": "18ec04c3d0a4ac1b",
}
RESOLVED = {**FIRING, "status": "resolved", "endsAt": "2026-11-21T09:05:00Z"}


class Part(BaseHTTPRequestHandler):
    """Stands for Prefect, MLflow and the others: sends `answers` and stores the requests."""

    url: str
    answers: ClassVar[dict[str, tuple[int, Any]]]
    received: ClassVar[list[tuple[str, Any]]]

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.received.append((self.path, json.loads(self.rfile.read(length) or "null")))
        status, body = self.answers.get(self.path, (404, None))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def part() -> Iterator[type[Part]]:
    class Fresh(Part):
        answers: ClassVar[dict[str, tuple[int, Any]]] = {}
        received: ClassVar[list[tuple[str, Any]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Fresh.url = f"http://127.0.0.1:{server.server_port}"
    yield Fresh
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hanging() -> Iterator[str]:
    """Return a port that accepts connections and never answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(8)
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return copy_params(Settings(home=tmp_path))


def ask(watch: WatchServer, method: str, path: str, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(watch.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://watch") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def scrape(settings: Settings) -> dict[tuple[str, ...], float]:
    """Return (name, label values...) → value, from one scrape."""
    answer = ask(WatchServer(settings), "GET", "/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def failures(samples: dict[tuple[str, ...], float]) -> set[str]:
    return {key[1] for key, value in samples.items() if key[0] == "mlops_watch_failures" and value}


def test_a_foreign_host_reads_no_metrics_and_sends_no_alerts(settings: Settings) -> None:
    watch = WatchServer(settings)
    for method, path in (("GET", "/metrics"), ("POST", "/alerts")):
        answer = ask(watch, method, path, headers={"Host": "elsewhere.example"})
        assert answer.status_code == 403


def test_a_home_where_nothing_has_run_yet(settings: Settings) -> None:
    samples = scrape(settings)
    assert failures(samples) == set()
    assert samples["mlops_release_generation",] == 0
    assert (
        samples["mlops_price_per_cpu_hour",] == settings.params()["serving"]["price_per_cpu_hour"]
    )
    assert not any(key[0] == "mlops_up" for key in samples), "no server is in the settings"
    assert not any("world" in key[0] for key in samples)
    assert samples["mlops_features_complete",] == 0
    assert not clock.is_started(settings), "a scrape must not start the clock"


def test_parts_that_are_closed_hang_or_fail_are_down_and_the_rest_is_reported(
    settings: Settings, part: type[Part], hanging: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    url = part.url
    part.answers |= {
        "/api/2.0/mlflow/experiments/search": (500, None),
        "/api/ready": (200, "OK"),
        "/api/flow_runs/filter": (200, [{"state_type": "CRASHED"}]),
        "/api/flow_runs/count": (200, 3),
    }
    named = Settings(
        home=settings.home, redis=f"{hanging},password=x", evidently_url=f"http://{hanging}",
        feast_registry=f"postgresql+psycopg://feast:x@{closed}/feast", tracking_uri=url,
        prefect_url=f"{url}/api",
    )  # fmt: skip
    clock.now(named)
    samples = scrape(named)
    parts = {key[1]: value for key, value in samples.items() if key[0] == "mlops_up"}
    assert parts == {"redis": 0, "evidently": 0, "postgres": 0, "mlflow": 0, "prefect": 1}
    assert failures(samples) == {"online"}, "without Redis the publication is unknown"
    assert "mlops_features_complete" not in {key[0] for key in samples}
    for flow in prefect_commands.FLOW_NAMES:
        assert samples["mlops_flow_failed", flow] == 1
    assert samples["mlops_flow_runs_late",] == 3
    assert samples["mlops_batches_missing", "schedule"] > 80  # those of January to March


def test_an_unreadable_file_is_reported_as_a_failure(settings: Settings) -> None:
    for name in ("monitoring/20130415T0000.json", "release/release.json"):
        (settings.state / name).parent.mkdir(parents=True)
        (settings.state / name).write_text("{half a")
    samples = scrape(settings)
    assert failures(samples) == {"monitoring", "champion"}
    assert ("mlops_release_generation",) not in samples
    assert samples["mlops_disk_free_bytes", "state"] > 0


def test_a_hanging_reader_times_out(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def hangs(_: Settings) -> Iterator[MetricSample]:
        ended.wait(30)
        yield MetricSample("release_generation", 1)

    monkeypatch.setitem(loop_metrics.SAMPLE_READERS, "champion", hangs)
    monkeypatch.setattr(probes, "BUDGET", 0.3)
    samples = scrape(settings)
    ended.set()
    assert failures(samples) == {"champion"}
    assert samples["mlops_watch_failures", "volumes"] == 0


def test_only_servers_of_the_settings_are_probed(settings: Settings) -> None:
    assert probes.configured_probes(settings) == {}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("", "json"),
        ('{"version": "4"}', "alerts"),
        ({"version": "3", "alerts": []}, "version"),
        ({"version": "4", "alerts": [{**FIRING, "startsAt": "now"}]}, "startsAt"),
        ({"version": "4", "alerts": [{**FIRING, "startsAt": "2026-11-21T09:00:00"}]}, "startsAt"),
        ({"version": "4", "alerts": [{**FIRING, "labels": {}}]}, "alertname"),
        ({"version": "4", "alerts": [{**FIRING, "status": "silent"}]}, "status"),
        ({"version": "4", "alerts": [{**FIRING, "fingerprint": "../x"}]}, "fingerprint"),
    ],
)
def test_a_malformed_notification_is_refused(settings: Settings, body: Any, wrong: str) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    answer = ask(WatchServer(settings), "POST", "/alerts", content=content)
    assert answer.status_code == 400
    assert wrong in json.dumps(answer.json()["detail"])


def test_a_body_too_long_is_refused(settings: Settings) -> None:
    answer = ask(WatchServer(settings), "POST", "/alerts", content=b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413


def test_an_alert_is_logged_while_prefect_is_down_and_its_event_follows(
    settings: Settings, part: type[Part]
) -> None:
    named = Settings(home=settings.home, prefect_url=part.url)
    watch = WatchServer(named)
    given = {"version": "4", "alerts": [FIRING, RESOLVED], "receiver": "page", "groupKey": "{}"}
    answer = ask(watch, "POST", "/alerts", json=given)
    assert (answer.status_code, answer.json()) == (200, {"recorded": 2})
    lines = alerts.read_alerts(settings)
    assert [line["status"] for line in lines] == ["firing", "resolved"]
    assert len(part.received) == 1, "Prefect rejects the event"
    assert scrape(named)["mlops_alert_event_age_seconds",] > 0
    since = datetime.fromisoformat(lines[0]["recorded_at"])
    assert alerts.oldest_unsent_age(settings, since + timedelta(minutes=20)) == 1200

    part.answers["/events"] = (204, None)
    part.received.clear()
    answer = ask(watch, "POST", "/alerts", json=given)
    assert (answer.status_code, answer.json()) == (200, {"recorded": 0}), "they are logged already"
    [(_, events)] = [each for each in part.received if each[0] == "/events"]
    assert [event["event"] for event in events] == ["mlops.alert.firing", "mlops.alert.resolved"]
    assert [event["id"] for event in events] == [line["id"] for line in lines]
    assert events[0]["payload"] == alerts.Alert.model_validate(FIRING).fields()
    assert scrape(named)["mlops_alert_event_age_seconds",] == 0
    part.received.clear()
    ask(watch, "POST", "/alerts", json=given)
    assert part.received == [], "no event is left"


def test_rejected_events_are_resent_without_another_alert(
    settings: Settings, part: type[Part]
) -> None:
    given = [fields(fingerprint=f"{number:x}") for number in range(130)]
    for each in given:
        alerts.append_alert(settings, each)
    app = WatchServer(Settings(home=settings.home, prefect_url=part.url), retry=0.05).app

    async def run() -> None:
        async with app.router.lifespan_context(app):
            while len(part.received) < 3:
                await asyncio.sleep(0.01)
            part.answers["/events"] = (204, None)
            async with asyncio.timeout(20):
                while alerts.unsent_alerts(settings):
                    await asyncio.sleep(0.01)

    asyncio.run(run())
    sent = [event["id"] for _, events in part.received for event in events]
    assert sent[-130:] == [each["id"] for each in given], "each, in order"
    assert max(len(events) for _, events in part.received) == alerts.EVENTS_PER_REQUEST


def test_an_alert_older_than_the_retention_of_events_gets_none(
    settings: Settings, part: type[Part]
) -> None:
    part.answers["/events"] = (204, None)
    alerts.append_alert(settings, fields())
    [line] = alerts.read_alerts(settings)
    old = datetime.now(UTC) - alerts.EVENT_RETENTION
    alerts.alert_log_path(settings).write_text(
        json.dumps({**line, "recorded_at": old.isoformat()}) + "\n"
    )
    alerts.append_alert(settings, fields(fingerprint="ab"))
    alerts.send_events(Settings(home=settings.home, prefect_url=part.url))
    [(_, events)] = part.received
    assert [event["id"] for event in events] == [fields(fingerprint="ab")["id"]]
    assert alerts.unsent_alerts(settings) == []


def test_alerts_that_can_not_be_written_are_answered_with_500(settings: Settings) -> None:
    settings.var.mkdir()
    (settings.var / "alerts").write_text("a file where the folder should be")
    answer = ask(
        WatchServer(settings), "POST", "/alerts", json={"version": "4", "alerts": [FIRING]}
    )
    assert answer.status_code == 500
    assert str(alerts.alert_log_path(settings)) in answer.json()["detail"]


def test_every_flow_is_deployed_watched_and_has_a_schedule_or_an_event(settings: Settings) -> None:
    from prefect import Flow

    from pipelines.flows import deployments, flows

    defined = {each.name for each in vars(flows).values() if isinstance(each, Flow)}
    made = {
        each.flow_name: each
        for each in deployments.build_deployments(settings, schedules_active=True)
    }
    assert set(made) == set(prefect_commands.FLOW_NAMES) == defined
    for name, deployment in made.items():
        assert deployment.schedules or deployment.triggers, name
    rules = (ROOT / "monitoring" / "stack" / "rules.yml").read_text()
    assert 'expr: mlops_flow_failed{flow!="train"} == 1' in rules
    assert 'expr: mlops_flow_failed{flow="train"} == 1' in rules


@pytest.mark.parametrize("name", ["alert", "train"])
def test_a_schedule_of_what_cannot_be_scheduled_is_refused(settings: Settings, name: str) -> None:
    from pipelines.flows import deployments

    params = settings.params()
    params["schedules"][name] = "* * * * *"
    settings.params_file.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=rf"schedules\.{name}: no parameter has this name"):
        deployments.build_deployments(settings, schedules_active=True)


def fields(**changes: Any) -> dict[str, str]:
    return alerts.Alert.model_validate({**FIRING, **changes}).fields()


def test_an_alert_is_written_once_and_a_torn_line_is_skipped(settings: Settings) -> None:
    assert alerts.append_alert(settings, fields())
    assert not alerts.append_alert(settings, fields())
    with alerts.alert_log_path(settings).open("a") as file:
        file.write('{"id": "torn')
    assert len(alerts.read_alerts(settings)) == 1
    assert alerts.append_alert(settings, fields(fingerprint="ab"))
    lines = alerts.alert_log_path(settings).read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["PartDown", "PartDown"]
    with pytest.raises(LoopError, match="Wrong fields"):
        alerts.append_alert(settings, {"id": "1"})


def test_concurrent_alerts_are_all_written(settings: Settings) -> None:
    given = [fields(fingerprint=f"{number:x}") for number in range(40)]
    threads = [
        threading.Thread(target=alerts.append_alert, args=(settings, each))
        for each in (*given, *given)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line["id"] for line in alerts.read_alerts(settings)) == sorted(
        each["id"] for each in given
    )


def test_an_alert_is_listed_once_in_its_last_state(settings: Settings) -> None:
    later = fields(startsAt="2026-11-21T10:00:00Z", labels={"alertname": "ApiDown"})
    resolved = alerts.Alert.model_validate(RESOLVED).fields()
    for each in (resolved, later, fields()):  # the resolution arrives first
        alerts.append_alert(settings, each)
    states = [(line["name"], line["until"][:16]) for line in alerts.latest_alerts(settings)]
    assert states == [("ApiDown", ""), ("PartDown", "2026-11-21T09:05")]
