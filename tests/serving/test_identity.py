"""Answers and their ids over HTTP: two replicas with one log, two clients, and outcomes."""

import hashlib
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pandas as pd
import psutil
import pytest

from pipelines.release.audit.prediction_lineage import explain_prediction
from serving.prediction_log import reader
from settings import Settings, UserError
from tests.serving.in_process import example_request
from tests.serving.service_process import Service
from tests.use_case import USE_CASE

pytestmark = pytest.mark.timeout(180)
TOKENS = ",".join(
    f"{role}:{hashlib.sha256(name.encode()).hexdigest()}:{name}"
    for role, name in (("predict", "first"), ("predict", "second"), ("feedback", "teller"))
)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Service]]:
    """Return two replicas with one prediction log and the same tokens."""
    homes = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    shared = {"MLOPS_TOKENS": TOKENS, "MLOPS_PREDICTION_LOG": str(homes[0] / "predictions")}
    services = [Service(home, **shared) for home in homes]
    try:
        for service in services:
            service.log = homes[0] / "predictions"
            service.release("1")
        yield services
    finally:
        for service in services:
            service.stop()


def post(service: Service, path: str, client: str, body: Any, name: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {client}"} | ({"X-Request-Id": name} if name else {})
    return service.client.post(path, json=body, headers=headers)


def predict(service: Service, client: str, name: str, number: int) -> dict[str, Any]:
    response = post(service, "/predict", client, a_case(number), name)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["request_id"] == name
    return answer


def a_case(number: int) -> dict[str, Any]:
    """Return a valid request for one of 9,999 cases."""
    body = example_request()
    [whole] = [name for name, value in body.items() if type(value) is int]
    return body | {whole: number}


def report(service: Service, answer: dict[str, Any], outcome: bool, **name: str) -> httpx.Response:
    known = datetime.fromisoformat(answer["decision_time"]) + timedelta(hours=9)
    body = {"outcome": outcome, "known_at": known.isoformat(), **name}
    return post(service, "/feedback", "teller", body)


def logged(service: Service, column: str, *values: str) -> pd.DataFrame:
    frame = reader.read_predictions(USE_CASE, service.log)
    return frame[frame[column].isin(values)]


def test_two_clients_with_the_same_ids_have_their_own_answers_and_outcomes(
    replicas: list[Service],
) -> None:
    service = replicas[0]
    names = [f"job-{number}" for number in range(1, 301)]
    first = [predict(service, "first", name, 1 + n) for n, name in enumerate(names)]
    second = [predict(service, "second", name, 1001 + n) for n, name in enumerate(names)]
    record = logged(service, "request_id", *names)
    assert len(record) == record["prediction_id"].nunique() == record["key"].nunique() == 600
    assert record["client"].value_counts().to_dict() == {"first": 300, "second": 300}

    asked_twice = report(service, first[6], True, request_id="job-7")
    assert (asked_twice.status_code, asked_twice.json()["error"]) == (409, "several predictions")
    candidates = {each["client"]: each for each in asked_twice.json()["fields"]}
    for client, answer in (("first", first[6]), ("second", second[6])):
        [row] = logged(service, "prediction_id", answer["prediction_id"]).to_dict("records")
        assert candidates[client]["prediction_id"] == answer["prediction_id"]
        assert candidates[client]["key"] == row["key"]
        assert candidates[client]["decision_time"][:10] == answer["decision_time"][:10]
        outcome = client == "first"
        told = report(service, answer, outcome, prediction_id=answer["prediction_id"])
        assert told.json()["status"] == "recorded", told.text
        labels = reader.reported_labels(service.log)
        assert labels.loc[labels["key"] == row["key"], "label"].tolist() == [outcome]
    with pytest.raises(UserError, match=r"2 predictions have the request id job-7") as several:
        explain_prediction(Settings(prediction_log=service.log), "job-7")
    for answer in (first[6], second[6]):
        assert answer["prediction_id"] in str(several.value)


def test_a_batch_and_a_single_request_of_the_same_name_are_different_answers(
    replicas: list[Service],
) -> None:
    service, name = replicas[0], "a" * 64
    batch = {"requests": [a_case(2001), a_case(2002)]}
    [_, of_batch] = post(service, "/predict_batch", "first", batch, "set").json()["predictions"]
    single = predict(service, "first", "set-1", 2003)
    assert of_batch["request_id"] == single["request_id"] == "set-1"
    assert logged(service, "request_id", "set-1")["key"].nunique() == 2
    assert report(service, single, True, request_id="set-1").status_code == 409
    for answer in (of_batch, single):
        told = report(service, answer, True, prediction_id=answer["prediction_id"])
        assert told.json()["status"] == "recorded", told.text

    answers = post(service, "/predict_batch", "first", batch, name).json()["predictions"]
    [row] = logged(service, "prediction_id", answers[1]["prediction_id"]).to_dict("records")
    assert row["request_id"] == answers[1]["request_id"] == f"{name}-1"
    told = report(service, answers[1], False, request_id=f"{name}-1")
    assert (told.json()["status"], told.json()["prediction_id"]) == (
        "recorded",
        answers[1]["prediction_id"],
    )


def test_an_id_with_two_bodies_keeps_both_and_a_request_without_an_id_is_a_new_one(
    replicas: list[Service],
) -> None:
    service = replicas[0]
    one, other = (predict(service, "first", "twice", number) for number in (3001, 3002))
    again = predict(service, "first", "twice", 3001)
    assert again["prediction_id"] == one["prediction_id"] != other["prediction_id"]
    assert len(logged(service, "request_id", "twice")) == 2
    unnamed = [post(service, "/predict", "first", a_case(3003)).json() for _ in range(2)]
    assert unnamed[0]["prediction_id"] != unnamed[1]["prediction_id"]
    both = {name: one[name] for name in ("prediction_id", "request_id")}
    for named in ({}, both):
        refused = report(service, one, True, **named)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid request")


def test_a_retry_on_another_replica_after_a_kill_is_one_answer(replicas: list[Service]) -> None:
    """Runs last, since it kills a replica."""
    killed, other = replicas
    body = {"requests": [a_case(4001), a_case(4002)]}
    answers = post(killed, "/predict_batch", "first", body, "retried").json()["predictions"]
    for process in [*psutil.Process(killed.process.pid).children(), killed.process]:
        os.kill(process.pid, signal.SIGKILL)
    retried = post(other, "/predict_batch", "first", body, "retried").json()["predictions"]
    identities = [answer["prediction_id"] for answer in answers]
    assert [answer["prediction_id"] for answer in retried] == identities
    record = logged(other, "request_id", "retried-0", "retried-1")
    assert record["prediction_id"].tolist() == identities
    assert reader.read_predictions(USE_CASE, other.log).attrs["duplicates"] >= 2
    told = report(other, answers[0], True, request_id="retried-0")
    assert told.json()["status"] == "recorded", told.text
