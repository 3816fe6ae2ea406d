"""The service as a process: predictions, refusals, the log, swaps of the model, shutdown."""

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

from pipelines.cli.main import app
from serving.models.evaluator import Evaluator, export_model
from serving.prediction_log.reader import read_predictions
from serving.release import signatures
from serving.release.document import ServedModel
from settings import Settings
from tests import browser
from tests.serving import scenarios
from tests.serving.in_process import example_request, fitted_pipeline
from tests.serving.service_process import Service
from tests.use_case import FEATURES, USE_CASE

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]
JSON = {"Content-Type": "application/json"}
OF_ANOTHER_PROJECT = {
    "BENTOML_CONFIG": "/nowhere/bentoml.yml",
    "BENTOML_CONFIG_OPTIONS": "services.Predictor.workers=2",
    "BENTOML_CONFIG_OVERRIDES": '{"services": {"Predictor": {"workers": 3}}}',
}


@pytest.fixture(scope="module")
def unreleased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Any]]:
    """Return the service, and its responses before the first release."""
    home = tmp_path_factory.mktemp("home")
    (home / "click.py").write_text("raise RuntimeError('a module of the working folder')")
    service = Service(home, **OF_ANOTHER_PROJECT)
    try:
        ready = service.wait("/readyz", lambda response: True)
        yield service, (ready, service.predict(), service.client.get("/release").json())
    finally:
        service.stop()


@pytest.fixture(scope="module")
def service(unreleased: tuple[Service, Any]) -> Service:
    unreleased[0].release("1")
    return unreleased[0]


def test_without_a_model_it_responds_with_the_reason(unreleased: tuple[Service, Any]) -> None:
    ready, answer, release = unreleased[1]
    assert ready.status_code == 503
    assert "no model yet" in ready.text
    assert answer.status_code == 503
    assert answer.json()["error"] == "no model yet"
    assert "Release a model" in answer.json()["detail"]
    assert release["version"] is None
    assert unreleased[0].client.get("/livez").status_code == 200


def test_variables_and_files_of_another_project_do_not_change_it(service: Service) -> None:
    assert service.worker().is_running()  # the only one
    assert service.predict().status_code == 200


def test_mlops_predict_takes_one_case_or_a_csv_file(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(service.settings.home))
    monkeypatch.setenv("MLOPS_SERVICE_PORT", str(service.settings.service_port))
    invoke = CliRunner().invoke
    result = invoke(app, ["predict", json.dumps(example_request())])
    assert result.exit_code == 0, result.output
    assert "probability: 0." in result.output
    cases, answers = tmp_path / "cases.csv", tmp_path / "answers.csv"
    pd.DataFrame([example_request()] * 3).to_csv(cases, index=False)
    assert invoke(app, ["predict", "--csv", str(cases), "--out", str(answers)]).exit_code == 0
    predictions = pd.read_csv(answers)
    assert predictions["probability"].between(0, 1).all()
    assert len(predictions) == 3
    assert set(example_request()) <= set(predictions)
    for refused in ("{}", "no JSON"):
        result = invoke(app, ["predict", refused])
        assert result.exit_code == 2
        assert "The service answered 4" in result.output
    assert invoke(app, ["predict"]).exit_code == 2


def test_prediction_is_answered_and_logged_once(service: Service) -> None:
    assert service.client.get("/readyz").status_code == 200
    answer = service.predict(headers={"X-Request-Id": "first-1"})
    assert answer.status_code == 200
    schema = USE_CASE.response()
    names = {field.serialization_alias or name: name for name, field in schema.model_fields.items()}
    response = schema.model_validate({names[sent]: v for sent, v in answer.json().items()})
    assert (response.request_id, response.model_version) == ("first-1", "1")
    assert answer.headers["X-Request-Id"] == "first-1"

    frame = read_predictions(USE_CASE, service.log)
    [record] = frame[frame["request_id"] == "first-1"].to_dict("records")
    request = USE_CASE.request().model_validate(example_request())
    assert record["key"] == USE_CASE.key(request)
    assert record["probability"] == response.probability
    assert record["decision"] == (response.probability >= 0.5)
    assert record["model_digest"] == service.client.get("/release").json()["digest"]
    for name, value in request.model_dump(mode="json").items():
        assert record[f"request.{name}"] == value

    # The logged features are those of the prediction: the model gives the same probability.
    features = {name: record[f"features.{name}"] for name in FEATURES}
    evaluator = Evaluator.load(service.settings.state / "models" / "1", record["model_digest"])
    assert evaluator.predict([features])[0] == response.probability


@pytest.mark.parametrize("given", [None, "", "a" * 65, "a b", "ä"])
def test_a_request_without_a_valid_id_gets_one(given: str | None, service: Service) -> None:
    headers = {} if given is None else {"X-Request-Id": given.encode()}
    answer = service.predict(headers=headers)
    assert answer.status_code == 200
    assert re.fullmatch("[0-9a-f]{32}", answer.json()["request_id"])


@pytest.mark.parametrize("name", USE_CASE.request().model_fields)
@pytest.mark.parametrize("fault", ["missing", "wrong type"])
def test_faulty_field_is_named(name: str, fault: str, service: Service) -> None:
    body = example_request() | {name: [1]}
    if fault == "missing":
        del body[name]
    answer = service.predict(body)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["fields"]] == [name]
    assert all(one["reason"] for one in answer.json()["fields"])


def test_other_faulty_bodies_are_the_clients_fault(service: Service) -> None:
    logged = len(read_predictions(USE_CASE, service.log))
    whole = json.dumps(example_request())
    bodies: dict[str, tuple[str | bytes, int, str]] = {
        "unknown": (json.dumps(example_request() | {"unknown": 1}), 400, "unknown"),
        "cut": (whole[:-5], 400, "Invalid JSON"),
        "list": (f"[{whole}]", 400, "object"),
        "null": ("null", 400, "object"),
        "empty": ("", 400, "Invalid JSON"),
        "latin-1": (b'{"\xff": 1}', 400, "Invalid JSON"),
        "deep": ("[" * 50_000, 400, "Invalid JSON"),
        "long": ("x" * 100_000, 413, "65536 bytes"),
    }
    for name, (body, status, reason) in bodies.items():
        answer = service.client.post("/predict", content=body, headers=JSON)
        assert (name, answer.status_code) == (name, status)
        assert reason in answer.text
        assert "Traceback" not in answer.text
    stream = iter([b"x" * 60_000] * 3)
    assert service.client.post("/predict", content=stream, headers=JSON).status_code == 413
    assert service.client.get("/predict").status_code == 405
    assert len(read_predictions(USE_CASE, service.log)) == logged


def test_an_invalid_prediction_is_the_services_fault(service: Service) -> None:
    """A model that returns NaN breaks the response's schema: a pydantic error, but status 500."""
    broken = fitted_pipeline(LogisticRegression(), make_pipeline(SimpleImputer()))
    broken[-1].coef_[:] = np.nan
    service.release("broken", broken)
    try:
        answer = service.predict()
    finally:
        service.release("1")
    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    metrics = service.client.get("/metrics").text
    failed = 'predictions_total{arm="champion",model_version="broken",outcome="failed"} 1.0'
    assert failed in metrics


def logged(service: Service, request_id: str) -> dict[str, Any]:
    frame = read_predictions(USE_CASE, service.log)
    [record] = frame[frame["request_id"] == request_id].to_dict("records")
    return record


def test_a_challenger_in_the_shadow_and_as_a_canary(service: Service) -> None:
    """A shadow does not answer, a canary does. If either breaks, the champion answers."""
    linear = fitted_pipeline(LogisticRegression(), make_pipeline(SimpleImputer()))
    good, broken = "challenger", "broken challenger"
    digest = export_model(linear, service.settings.state / "models" / good)
    challenger = ServedModel(good, digest, f"../models/{good}", 0.5)
    linear[-1].coef_[:] = np.nan
    digest = export_model(linear, service.settings.state / "models" / broken)
    nan = ServedModel(broken, digest, f"../models/{broken}", 0.5)
    results = {}
    try:
        for name, model, stage, percent in (
            ("shadow", challenger, "shadow", 0), ("canary", challenger, "canary", 100),
            ("nan-shadow", nan, "shadow", 0), ("nan-canary", nan, "canary", 100),
        ):  # fmt: skip
            service.challenge(model, stage, percent)
            answer = service.predict(headers={"X-Request-Id": name})
            assert answer.status_code == 200
            results[name] = answer.json()["model_version"], logged(service, name)
        missing = ServedModel("gone", "c" * 64, "../models/gone", 0.5)
        service.challenge(missing, "canary", 100)
        release, ready = service.client.get("/release").json(), service.client.get("/readyz")
        alone = service.predict()
    finally:
        service.release("1")
    assert {name: version for name, (version, _) in results.items()} == {
        "shadow": "1", "canary": good, "nan-shadow": "1", "nan-canary": "1",
    }  # fmt: skip
    shadow = results["shadow"][1]
    assert shadow["shadow_version"] == good
    assert 0 <= shadow["shadow_probability"] <= 1
    assert results["canary"][1]["arm"] == "challenger"
    assert "no probability" in results["nan-shadow"][1]["shadow_error"]
    assert "no probability" in results["nan-canary"][1]["challenger_error"]
    metrics = service.client.get("/metrics").text
    failures = "challenger_failures_total"
    assert f'{failures}{{arm="shadow",model_version="{broken}"}} 1.0' in metrics
    assert f'{failures}{{arm="challenger",model_version="{broken}"}} 1.0' in metrics

    assert (release["version"], release["challenger"]["loaded"]) == ("1", False)
    assert "challenger can't be used" in release["problem"]
    assert ready.status_code == 200
    assert "challenger can't be used" in ready.text
    assert alone.json()["model_version"] == "1"


def test_a_prediction_that_cannot_be_logged_is_refused_so_that_another_replica_gets_it(
    service: Service,
) -> None:
    limit, unlimited = psutil.RLIMIT_FSIZE, psutil.RLIM_INFINITY
    workers = psutil.Process(service.process.pid).children(recursive=True)
    before = len(read_predictions(USE_CASE, service.log))
    for worker in workers:
        worker.rlimit(limit, (1, unlimited))
    try:
        answer = service.predict()
    finally:
        for worker in workers:
            worker.rlimit(limit, (unlimited, unlimited))
    assert answer.status_code == 503
    assert answer.json()["error"] == "unavailable"
    assert "cannot be written" in answer.json()["detail"]
    assert len(read_predictions(USE_CASE, service.log)) == before
    assert service.predict().status_code == 200


def test_pages_describe_the_service_and_load_nothing_from_elsewhere(service: Service) -> None:
    assert service.client.get("/").json()["/predict"].startswith("POST")
    schema = service.client.get("/docs.json").json()
    assert "/predict" in schema["paths"]
    assert "://" not in service.client.get("/docs").text


def test_the_page_to_try_the_routes_asks_this_machine_only(
    service: Service, tmp_path: Path
) -> None:
    asked, document = browser.visit(f"{service.settings.service_url}/docs", tmp_path)
    assert {httpx.URL(url).host for url in asked} == {"127.0.0.1"}
    assert "/predict_batch" in document


def test_without_tokens_a_foreign_host_is_refused(service: Service) -> None:
    foreign = {"Host": "elsewhere.example"}
    refused = [service.client.get(path, headers=foreign) for path in ("/metrics", "/release")]
    refused.append(service.predict(headers=foreign))
    assert [answer.status_code for answer in refused] == [403] * 3
    assert refused[-1].json()["error"] == "foreign host"
    assert service.client.get("/livez", headers={"Host": "localhost"}).status_code == 200


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of BentoML's own imports
def test_bentomls_client_has_a_method_for_each_route(service: Service) -> None:
    import bentoml

    case = example_request()
    client = bentoml.SyncHTTPClient(service.settings.service_url)
    with client, client._temp_dir:  # which `close` leaves to the garbage collector
        one = client.predict(**case)
        [same] = client.predict_batch(requests=[case])["predictions"]
        features = dict.fromkeys(FEATURES)
        given = client.score(key="a-case", decision_time=one["decision_time"], features=features)
        why = client.explain(**case)
        told = client.feedback(
            request_id=one["request_id"], outcome=True, known_at=one["decision_time"]
        )
        with pytest.raises(bentoml.exceptions.InvalidArgument, match="invalid request"):
            client.predict(**{**case, **dict.fromkeys(case)})
    assert one["probability"] == same["probability"] == why["probability"]
    assert given["model_version"] == "1"
    assert told["status"] == "recorded"


def test_metrics_count_by_version_and_outcome(service: Service) -> None:
    def count() -> float:
        text = service.client.get("/metrics").text
        pattern = (
            r'predictions_total\{arm="champion",model_version="1",outcome="(?:yes|no)"\} (\S+)'
        )
        return sum(float(value) for value in re.findall(pattern, text))

    before = count()
    for _ in range(3):
        service.predict()
    assert count() == before + 3
    assert (
        'prediction_probability_bucket{arm="champion",le="0.5",'
        in service.client.get("/metrics").text
    )


def test_a_broken_release_is_not_served_but_reported(service: Service) -> None:
    before = service.client.get("/release").json()
    good = service.settings.release_file.read_text()
    fields = json.loads(good.replace(before["digest"], "0" * 64))
    del fields["signature"]
    signed = signatures.sign_json(service.settings, "release", fields)
    service.settings.release_file.write_text(signed)
    release = service.wait("/release", lambda response: response.json()["problem"]).json()
    assert release["digest"] == before["digest"]
    assert "digest" in release["problem"]
    assert service.client.get("/readyz").status_code == 200
    assert service.predict().status_code == 200
    service.settings.release_file.write_text(good)
    service.wait("/release", lambda response: response.json()["problem"] is None)


def test_a_document_that_was_edited_by_hand_is_not_followed(service: Service) -> None:
    before = service.client.get("/release").json()
    file = service.settings.release_file
    good = file.read_text()
    fields = json.loads(good)
    fields["champion"] |= {"threshold": 0.99, "version": "another"}
    unsigned = {name: value for name, value in fields.items() if name != "signature"}
    stranger = Settings(home=service.settings.home / "stranger")
    for text, fault in (
        (json.dumps(fields), "was changed after it was signed"),
        (json.dumps(unsigned), "it is not signed"),
        (signatures.sign_json(stranger, "release", unsigned), "key that is not trusted"),
    ):
        file.write_text(text)
        ready = service.wait("/readyz", lambda r, f=fault: f in str(r.json()["problem"])).json()
        assert "is not followed" in ready["problem"]
        answer = service.predict()
        assert (answer.status_code, answer.json()["model_version"]) == (200, before["version"])
        assert service.client.get("/release").json()["threshold"] == before["threshold"]
        assert "release_problem 1.0" in service.client.get("/metrics").text
        assert fault in Path(service.output.name).read_text()
    file.write_text(good)
    service.wait("/release", lambda response: response.json()["problem"] is None)
    assert "release_problem 0.0" in service.client.get("/metrics").text


class Load(threading.Thread):
    """One client that sends requests over one connection until it is stopped."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        self.stopping = threading.Event()
        self.answers: list[httpx.Response] = []
        self.errors: list[httpx.TransportError] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.service.settings.service_url, timeout=10) as client:
            while not self.stopping.is_set():
                try:
                    self.answers.append(client.post("/predict", json=example_request()))
                except httpx.TransportError as error:
                    self.errors.append(error)
                    self.stopping.wait(0.01)


def test_swaps_under_load_drop_no_request_and_mix_no_versions(service: Service) -> None:
    report = scenarios.run_swaps(service, requests=1500, swaps=3, clients=2)
    assert report.requests == report.answered >= 1500
    assert set(report.by_version) == {"1", "2", "3", "4"}
    assert (report.mixed, report.missing, report.doubled, report.unasked) == (0, 0, 0, 0)


def test_accepted_requests_are_answered_before_it_stops(service: Service) -> None:
    """Runs last, since it ends the service. One request is half sent at the SIGTERM."""
    body = json.dumps(example_request()).encode()
    head = (
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: half-sent\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n"
    )
    load = Load(service)
    before = set(read_predictions(USE_CASE, service.log)["request_id"])
    with socket.create_connection(("127.0.0.1", service.settings.service_port)) as half:
        half.settimeout(10)
        half.sendall(head.encode() + body[:10])
        load.start()
        while len(load.answers) <= 10:  # until requests are under way
            time.sleep(0.05)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        half.sendall(body[10:])
        answer = half.recv(65536)
    assert service.process.wait(30) == 0
    load.stopping.set()
    load.join()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert {response.status_code for response in load.answers} == {200}
    answered = [response.json()["request_id"] for response in load.answers]
    frame = read_predictions(USE_CASE, service.log)
    assert len(answered) > 10
    assert {"half-sent", *answered} == set(frame["request_id"]) - before
    assert frame.attrs == {"torn_lines": 0, "duplicates": 0}
