"""The remedies of the service's refusals mend the state that the `error` of the body names."""

import json
import os
import re
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pandas as pd
import pytest

from pipelines.release.audit import recorder
from serving import remedies
from serving.errors import Refusal
from serving.http.access import AccessControl
from serving.http.api import Api
from serving.http.routes import build_routes
from serving.lookup import FeatureLookup
from serving.models.holder import ModelHolder
from serving.prediction_log.writer import PredictionLog
from settings import Settings
from tests.remedied import run_remedy
from tests.serving.in_process import (
    LocalService,
    example_request,
    post_json,
    send_request,
    shared_metrics,
)
from tests.serving.service_process import Service
from tests.use_case import USE_CASE

TOKENS = {role: f"secret-of-{role}" for role in ("predict", "feedback")}
CASE = json.dumps(example_request())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lines = [f"{role} {sha256(secret.encode()).hexdigest()} me" for role, secret in TOKENS.items()]
    limits = {"MLOPS_TOKENS": ",".join(lines), "MLOPS_RECEIVE_SECONDS": "2"}
    service = Service(tmp_path_factory.mktemp("home"), **limits)
    try:
        service.release("1")
        yield service
    finally:
        service.stop()


@pytest.fixture(autouse=True)
def environment(service: Service) -> Iterator[None]:
    variables = {
        "MLOPS_HOME": str(service.settings.home), "MLOPS_TOKEN": TOKENS["predict"],
        "MLOPS_SERVICE_PORT": str(service.settings.service_port),
    }  # fmt: skip
    with patch.dict(os.environ, variables):
        yield


def post(service: Service, path: str, body: Any, role: str = "predict", **headers: str) -> str:
    """Post the body; return the code of the response, empty if it is an answer."""
    headers = {"authorization": f"Bearer {TOKENS.get(role, role)}", **headers}
    content = body if isinstance(body, str) else json.dumps(body)
    headers.setdefault("content-type", "application/json")
    return code(service.client.post(path, content=content, headers=headers))


def code(response: httpx.Response) -> str:
    return "" if response.is_success else remedies.code_of(response.json()["error"])


@pytest.mark.parametrize(
    ("expected", "body", "headers"),
    [
        ("invalid_request", "{}", {}),
        ("wrong_content_type", CASE, {"content-type": "text/plain"}),
        ("overloaded", CASE, {"x-refusal": "overloaded"}),
        ("too_many_requests", CASE, {"x-refusal": "too many requests"}),
        ("token_missing_or_wrong", CASE, {"authorization": ""}),
    ],
)
def test_a_case_is_sent_as_the_remedy_says(
    expected: str, body: str, headers: dict[str, str], service: Service
) -> None:
    assert post(service, "/predict", body, **headers) == expected
    words = {"CASE": CASE, "TOKEN": TOKENS["predict"]}
    assert "probability: 0." in run_remedy(expected, service.settings.home, **words)


@pytest.mark.parametrize(
    ("expected", "sent"),
    [
        ("malformed_http", b"nonsense\r\n\r\n"),
        ("head_too_large", b"GET / HTTP/1.1\r\nx-long: " + b"x" * 50_000),
        ("request_too_slow", b"POST /predict HTTP/1.1\r\n"),
    ],
)
def test_a_request_that_never_was_one_is_sent_again(
    expected: str, sent: bytes, service: Service
) -> None:
    address = ("127.0.0.1", service.settings.service_port)
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    error = json.loads(received.partition(b"\r\n\r\n")[2])["error"]
    assert remedies.code_of(error) == expected
    assert "probability: 0." in run_remedy(expected, service.settings.home, CASE=CASE)


def test_a_foreign_host_is_allowed_by_its_name(tmp_path: Path) -> None:
    headers = {b"host": b"models.example.org"}
    with pytest.raises(Refusal) as refused:
        AccessControl(Settings(home=tmp_path)).admit("predict", headers, None)
    assert remedies.code_of(refused.value.error) == "foreign_host"
    # `mlops serve` runs until Ctrl-C, so only its setting is applied here.
    name, value = remedies.remedy_command("foreign_host").removesuffix(" mlops serve").split("=")
    with patch.dict(os.environ, {name: value.replace("HOST", "models.example.org")}):
        assert AccessControl(Settings(home=tmp_path)).admit("predict", headers, None)


@pytest.mark.parametrize("expected", ["unknown_path", "wrong_method"])
def test_the_paths_are_listed(expected: str, service: Service) -> None:
    path = {"unknown_path": "/prediction", "wrong_method": "/predict"}[expected]
    assert code(service.client.get(path)) == expected
    written = remedies.REMEDIES[expected].command
    url = written.replace("localhost:3000", f"127.0.0.1:{service.settings.service_port}")
    with patch.dict(remedies.REMEDIES, {expected: remedies.Remedy("", url)}):
        assert "/predict" in json.loads(run_remedy(expected, service.settings.home))


def test_a_long_body_is_sent_in_parts(service: Service, tmp_path: Path) -> None:
    cases = [example_request()] * 1500
    padded = json.dumps({"requests": cases}) + " " * (600 << 10)
    assert post(service, "/predict_batch", padded) == "body_too_large"
    file, answers = tmp_path / "cases.csv", tmp_path / "answers.csv"
    pd.DataFrame(cases).to_csv(file, index=False)
    run_remedy("body_too_large", tmp_path, FILE=file, ANSWERS=answers)
    assert len(pd.read_csv(answers)) == len(cases)


def test_feedback_needs_the_id_of_an_answer(service: Service) -> None:
    body = {"prediction_id": "0" * 32, "outcome": True, "known_at": "2013-04-01T18:00:00Z"}
    assert post(service, "/feedback", body, "feedback") == "unknown_prediction"
    output = run_remedy("unknown_prediction", service.settings.home, CASE=CASE)
    answer = dict(re.findall(r"(prediction_id|decision_time): (\S+)", output))
    body |= {"known_at": answer.pop("decision_time"), **answer}
    assert post(service, "/feedback", body, "feedback") == ""


def test_a_token_of_the_role_is_made(service: Service, tmp_path: Path) -> None:
    assert post(service, "/predict", CASE, "feedback") == "not_allowed"
    output = run_remedy("not_allowed", tmp_path, ROLE="predict")
    secret, line = re.findall(r"(?:token|line): +(.+)", output)
    (tmp_path / "tokens").write_text(line)
    access = AccessControl(Settings(home=tmp_path, tokens_file=tmp_path / "tokens"))
    headers = {b"authorization": f"Bearer {secret}".encode()}
    assert access.admit("predict", headers, None) == "me"
    with pytest.raises(Refusal):
        access.admit("feedback", headers, None)


def test_a_service_without_a_model_gets_one(released: Settings) -> None:
    """Its models have other columns than the store provides, so the holder asks for none."""
    released.release_file.unlink()
    parts = LocalService(
        released, shared_metrics(), PredictionLog(released.predictions),
        ModelHolder(released), FeatureLookup(None, shared_metrics()),  # type: ignore[arg-type]
        api=None,  # type: ignore[arg-type]
    )  # fmt: skip
    parts = LocalService(
        **{**vars(parts), "api": Api(build_routes(USE_CASE), parts, AccessControl(released))}
    )
    try:
        for expected in ("not_ready", "no_model_yet"):
            ready = send_request(parts, "GET", "/readyz")
            assert "[nothing_released] Remedy: mlops run" in ready.json()["detail"]
            asked = ready if expected == "not_ready" else post_json(parts, "/predict", CASE)
            assert code(asked) == expected
        with patch.dict(os.environ, {"MLOPS_HOME": str(released.home)}):
            run_remedy("not_ready", released.home, VERSION="2")
        assert recorder.read_recorded_release(released).document.champion is not None
        parts.models.refresh()
        assert send_request(parts, "GET", "/readyz").json()["version"] == "2"
    finally:
        parts.close()
