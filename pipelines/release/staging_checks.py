"""Check a version in the staging service before its release to production.

Staging runs the production service and reads the production features; it has its own release
document and log. `run_smoke_test` sends real cases of the newest day over HTTP. Every answer must
equal the prediction of the version's model, loaded here, on the online features.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from features import durable_files
from pipelines.release.audit.vouched_files import download_vouched
from pipelines.runtime.waiting import wait_until
from serving.http.access import bearer_header
from serving.release import document
from serving.release.document import ServedModel
from settings import LoopError, Settings, UserError

STAGING_ALIAS = "staging"
MAX_CASES_SENT = 200
MAX_ATTEMPTS = 5
RETRY_DELAY_S = 1.1  # seconds; the service retries a failed store after one second
SWITCH_TIMEOUT_S = 30.0  # seconds; the service polls the release document twice a second


def check_in_staging(settings: Settings, version: str) -> None:
    """Put `version` into the staging service, if there is one, and run the smoke test there.

    Raises `LoopError` if staging does not load the version or an answer is wrong; production is
    then unchanged.
    """
    if settings.staging_url:
        put_in_staging(settings, version)
        run_smoke_test(settings)


def put_in_staging(settings: Settings, version: str) -> ServedModel:
    """Make the staging service serve `version`; set the registry's alias `staging`."""
    from pipelines.training.mlflow_tracking import mlflow_client

    served = download_vouched(settings, version)
    mlflow_client(settings).set_registered_model_alias(settings.usecase, STAGING_ALIAS, version)
    try:
        current = document.read_release(settings, settings.staging_file)
    except LoopError:  # malformed or not signed: replaced by the version that was just checked
        current = None
    if current is None or current.champion != served:
        generation = current.generation + 1 if current else 1
        staged = document.Release(generation, served, datetime.now(UTC))
        document.write_release(settings, staged, settings.staging_file)
    return served


def run_smoke_test(settings: Settings) -> dict[str, Any]:
    """Send real cases to staging; write and return the evidence for the version there."""
    from features.publication_record import published_until
    from pipelines.runtime import traffic

    if settings.staging_url is None:
        raise UserError("There is no staging service. Set MLOPS_STAGING_URL to its address.")
    served = staged_model(settings)
    as_of = published_until(settings)
    if as_of is None:
        raise LoopError("Staging can't be tested without online features. Run `mlops features`.")
    cases = traffic.cases_between(settings, as_of - timedelta(days=1), as_of).tail(MAX_CASES_SENT)
    headers = bearer_header(settings)
    with httpx.Client(base_url=settings.staging_url, timeout=30, headers=headers) as client:
        _await_version(client, served)
        wrong = find_wrong_answers(settings, client, served, cases.to_dict("records"))
    evidence = {
        "version": served.version, "digest": served.digest, "as_of": as_of.isoformat(),
        "at": datetime.now(UTC).isoformat(), "asked": len(cases), "wrong": wrong,
    }  # fmt: skip
    file = settings.staging_file.with_name(f"staging-{served.version}.json")
    durable_files.write_json(file, evidence)
    if wrong or not len(cases):
        raise LoopError(
            f"Version {served.version} does not pass staging: {len(wrong)} of {len(cases)} answers "
            f"are wrong{': ' + wrong[0] if wrong else ''}. Production is unchanged. The evidence "
            f"is in {file}."
        )
    return evidence


def find_wrong_answers(
    settings: Settings, client: httpx.Client, served: ServedModel, cases: list[dict[str, Any]]
) -> list[str]:
    """Return a description of each wrong answer to `cases`."""
    from features.online_reader import OnlineReader
    from serving.models.evaluator import Evaluator

    use_case = settings.use_case
    requests = [use_case.request().model_validate(use_case.payload(case)) for case in cases]
    if not requests:
        return []
    rows = OnlineReader(settings).read(
        [use_case.entity_row(each) for each in requests],
        [use_case.decision_time(each) for each in requests],
    )
    model = Evaluator.load(settings.staging_file.parent / served.path, served.digest)
    expected = model.predict([row.values for row in rows])
    wrong = []
    for case, probability in zip(cases, expected, strict=True):
        answer = request_prediction(client, use_case.payload(case))
        if problem := answer_problem(answer, served.version, float(probability)):
            wrong.append(f"{case['key']}: {problem}")
    return wrong


def answer_problem(answer: httpx.Response, version: str, probability: float) -> str | None:
    """Return why the answer is wrong; None if it is `version`'s answer with `probability`."""
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text[:200]}"
    body = answer.json()
    if body["model_version"] != version:
        return f"answered by version {body['model_version']}"
    if body["degraded"]:
        return f"answered without the online store, {MAX_ATTEMPTS} times"
    if not abs(body["probability"] - probability) <= 1e-9:
        return f"{body['probability']} instead of {probability}"
    return None


def request_prediction(client: httpx.Client, body: dict[str, Any]) -> httpx.Response:
    """Return the answer; retry one that was given without the online store.

    One slow lookup on a busy machine is no fault of the version.
    """
    for _ in range(MAX_ATTEMPTS):
        answer = client.post("/predict", json=body)
        if answer.status_code != 200 or not answer.json()["degraded"]:
            break
        time.sleep(RETRY_DELAY_S)
    return answer


def staged_model(settings: Settings) -> ServedModel:
    """Return the version in staging. Raises `UserError` if there is none."""
    current = document.read_release(settings, settings.staging_file)
    if current is None:
        raise UserError("No version is in staging. Run `mlops stage VERSION` first.")
    return current.champion


def _await_version(client: httpx.Client, served: ServedModel) -> None:
    problem: object = None

    def has_loaded() -> bool:
        nonlocal problem
        try:
            release = client.get("/release").json()
        except httpx.TransportError as error:
            release = {"problem": repr(error)}
        problem = release.get("problem")
        return bool(release.get("digest") == served.digest)

    if not wait_until(has_loaded, SWITCH_TIMEOUT_S, 0.2):
        raise LoopError(
            f"Staging at {client.base_url} did not load version {served.version} within "
            f"{SWITCH_TIMEOUT_S:.0f} s: {problem}. Production is unchanged."
        )
