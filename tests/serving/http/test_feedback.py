"""Reported outcomes are recorded once, refused if impossible, and joined by monitoring."""

import resource
from collections.abc import Iterator
from datetime import datetime, timedelta

import httpx
import pytest

from monitoring.measures.performance import join_labels
from serving.prediction_log import compaction, reader
from settings import Settings
from tests.serving.in_process import LocalService, example_request, post_json, service_parts
from tests.use_case import USE_CASE

TWO_MONTHS = timedelta(days=60)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    parts = service_parts(Settings(home=tmp_path_factory.mktemp("home")))
    yield parts
    parts.close()


def predict(parts: LocalService, name: str) -> datetime:
    """Log a prediction and return its decision time."""
    response = post_json(parts, "/predict", example_request(), **{"X-Request-Id": name})
    return datetime.fromisoformat(response.json()["decision_time"])


def report(parts: LocalService, name: str, outcome: bool, known_at: datetime) -> httpx.Response:
    body = {"request_id": name, "outcome": outcome, "known_at": known_at.isoformat()}
    return post_json(parts, "/feedback", body)


def test_an_outcome_is_recorded_once_and_never_changed(parts: LocalService) -> None:
    known = predict(parts, "one") + timedelta(hours=5)
    assert report(parts, "one", True, known).json()["status"] == "recorded"
    assert report(parts, "one", True, known).json()["status"] == "already recorded"
    assert report(parts, "one", False, known).status_code == 409
    assert list(reader.reported_labels(parts.log.path.parent)["label"]) == [1]


def test_late_unknown_and_impossible_outcomes(parts: LocalService) -> None:
    decided = predict(parts, "late")
    assert report(parts, "late", True, decided + TWO_MONTHS).json()["status"] == "recorded late"
    assert report(parts, "never-asked", True, decided).status_code == 404
    early = report(parts, "late", True, decided - timedelta(hours=1))
    assert (early.status_code, early.json()["fields"][0]["field"]) == (400, "known_at")


def test_a_torn_line_is_cut_off_and_the_rest_kept(parts: LocalService) -> None:
    known = predict(parts, "torn") + timedelta(hours=5)
    file = reader.outcomes_file(parts.log.path.parent)
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as broken:
        broken.write('{"request_id": "torn", "la')
    assert report(parts, "torn", False, known).json()["status"] == "recorded"
    assert reader.reported_labels(parts.log.path.parent)["label"].tolist()[-1] == 0


def test_on_a_full_disk_an_outcome_gets_503_and_can_be_sent_again(parts: LocalService) -> None:
    known = predict(parts, "full") + timedelta(hours=5)
    file = reader.outcomes_file(parts.log.path.parent)
    report(parts, "full", True, known - timedelta(hours=6))  # refused; the folder exists
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        refused = report(parts, "full", True, known)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "outcome can't be written" in refused.json()["detail"]
    assert file.read_bytes() == before
    assert report(parts, "full", True, known).json()["status"] == "recorded"
    assert report(parts, "full", True, known).json()["status"] == "already recorded"


def test_monitoring_joins_an_outcome_after_compaction(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = Settings(home=tmp_path_factory.mktemp("compacted"))
    parts = service_parts(settings)
    known = predict(parts, "before") + timedelta(hours=5)
    parts.close()
    assert compaction.compact_log(USE_CASE, settings.predictions)["records"] == 1
    parts = service_parts(settings)
    try:
        assert report(parts, "before", True, known).json()["status"] == "recorded"
    finally:
        parts.close()
    log, labels = (
        reader.read_predictions(USE_CASE, settings.predictions),
        reader.reported_labels(settings.predictions),
    )
    joined = join_labels(log, labels, known + timedelta(seconds=1), horizon=timedelta(0))
    assert joined["label"].tolist() == [1]
    assert join_labels(log, labels, known, horizon=timedelta(0))["label"].isna().all()
