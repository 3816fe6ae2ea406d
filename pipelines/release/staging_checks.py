"""Does a version answer in staging as it should? Asked before it is released to production.

The staging service is the real one, with the real features; only its release document and its log
are its own. Real cases of the newest day are sent to it over HTTP, and every answer must be what
the version's model, loaded here, says of the features that are online.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from features import durable_files
from pipelines.registry.download import download_version
from pipelines.runtime import traffic
from serving.http.access import bearer_header
from serving.release import document
from serving.release.document import ServedModel
from settings import LoopError, Settings, UserError

STAGING_ALIAS = "staging"
MAX_CASES_SENT = 200
MAX_ATTEMPTS = 5
RETRY_DELAY_S = 1.1  # seconds; the service asks a store that failed again after one
SWITCH_TIMEOUT_S = 30.0  # seconds; the service looks twice a second


def check_in_staging(settings: Settings, version: str) -> dict[str, Any]:
    """Puts `version` into staging and has it answer real cases; the evidence.

    Raises `LoopError` if it is not taken up, or an answer is not what it should be: production
    then stays as it is.
    """
    put_in_staging(settings, version)
    return run_smoke_test(settings)


def put_in_staging(settings: Settings, version: str) -> ServedModel:
    """Has the staging service serve `version`; the registry knows it by the alias `staging`."""
    from pipelines.registry.versions import REGISTERED_MODEL
    from pipelines.training import mlflow_tracking

    served = download_version(settings, version)
    mlflow_tracking.mlflow_client(settings).set_registered_model_alias(
        REGISTERED_MODEL, STAGING_ALIAS, version
    )
    current = document.read_release(settings.staging_file)
    if current is None or current.champion != served:
        generation = current.generation + 1 if current else 1
        staged = document.Release(generation, served, datetime.now(UTC))
        document.write_release(settings.staging_file, staged)
    return served


def run_smoke_test(settings: Settings) -> dict[str, Any]:
    """Asks staging about real cases; writes and returns the evidence for the version there."""
    from features.publication_record import published_until

    url = settings.staging_url
    if url is None:
        raise UserError("There is no staging service: set MLOPS_STAGING_URL to its address.")
    served = staged_model(settings)
    as_of = published_until(settings)
    if as_of is None:
        raise LoopError("No features are online, so staging can't be tried: run `mlops features`.")
    cases = traffic.cases_between(settings, as_of - timedelta(days=1), as_of).tail(MAX_CASES_SENT)
    with httpx.Client(base_url=url, timeout=30, headers=bearer_header(settings)) as client:
        _await_version(client, served)
        found = find_wrong_answers(settings, client, served, cases.to_dict("records"))
    evidence = {
        "version": served.version, "digest": served.digest, "as_of": as_of.isoformat(),
        "at": datetime.now(UTC).isoformat(), "asked": len(cases), "wrong": found,
    }  # fmt: skip
    durable_files.write_json(staging_evidence_file(settings, served.version), evidence)
    if found or not len(cases):
        raise LoopError(
            f"Version {served.version} does not pass staging: {len(found)} of {len(cases)} answers "
            f"are wrong{': ' + found[0] if found else ''}. Production stays as it is; the evidence "
            f"is in {staging_evidence_file(settings, served.version)}."
        )
    return evidence


def find_wrong_answers(
    settings: Settings, client: httpx.Client, served: ServedModel, cases: list[dict[str, Any]]
) -> list[str]:
    """What is wrong with the answers to `cases`, in words; empty if nothing is."""
    from features.online_reader import OnlineReader
    from serving.models.evaluator import Evaluator
    from usecase.request import PredictRequest, decision_time, entity_row, payload

    requests = [PredictRequest.model_validate(payload(case)) for case in cases]
    if not requests:
        return []
    rows = OnlineReader(settings).read(
        [entity_row(each) for each in requests], [decision_time(each) for each in requests]
    )
    model = Evaluator.load(settings.staging_file.parent / served.path, served.digest)
    expected = model.predict([row.values for row in rows])
    found = (
        answer_problem(
            request_prediction(client, payload(case)), served.version, float(probability)
        )
        for case, probability in zip(cases, expected, strict=True)
    )
    return [
        f"{case['key']}: {why}" for case, why in zip(cases, found, strict=True) if why is not None
    ]


def answer_problem(answer: httpx.Response, version: str, probability: float) -> str | None:
    """Why this is not what `version` should say, whose probability is `probability`; or None."""
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text[:200]}"
    told = answer.json()
    if told["model_version"] != version:
        return f"answered by version {told['model_version']}"
    if told["degraded"]:
        return f"answered without the online store, {MAX_ATTEMPTS} times"
    if not abs(told["probability"] - probability) <= 1e-9:
        return f"{told['probability']} instead of {probability}"
    return None


def request_prediction(client: httpx.Client, body: dict[str, Any]) -> httpx.Response:
    """The answer; again after a rest while it is one without the online store.

    A lookup that was slow once, on a busy machine, says nothing of the version.
    """
    for _ in range(MAX_ATTEMPTS):
        answer = client.post("/predict", json=body)
        if answer.status_code != 200 or not answer.json()["degraded"]:
            break
        time.sleep(RETRY_DELAY_S)
    return answer


def staging_evidence_file(settings: Settings, version: str) -> Path:
    return settings.staging_file.with_name(f"staging-{version}.json")


def staged_model(settings: Settings) -> ServedModel:
    """What is in staging; `UserError` if nothing is."""
    current = document.read_release(settings.staging_file)
    if current is None:
        raise UserError("No version is in staging: `mlops stage VERSION` puts one there.")
    return current.champion


def _await_version(client: httpx.Client, served: ServedModel) -> None:
    told: dict[str, Any] = {}
    deadline = time.monotonic() + SWITCH_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            told = client.get("/release").json()
        except httpx.TransportError as error:
            told = {"problem": repr(error)}
        if told.get("digest") == served.digest:
            return
        time.sleep(0.2)
    raise LoopError(
        f"Staging at {client.base_url} did not take up version {served.version} within "
        f"{SWITCH_TIMEOUT_S:.0f} s: {told.get('problem')}. Production stays as it is."
    )
