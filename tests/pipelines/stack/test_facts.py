"""The facts of a backup equal what the readers of the same data count."""

import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from pipelines.release.audit.release_document import write_release_document
from pipelines.stack import facts
from pipelines.training.mlflow_tracking import mlflow_client
from serving.prediction_log import compaction, reader, writer
from serving.release.document import Release, ServedModel, write_release
from settings import Settings
from tests.use_case import USE_CASE


def _log(folder: Path, names: str) -> None:
    log = writer.PredictionLog(folder)
    for name in names:
        times = dict.fromkeys(("decision_time", "features_as_of", "logged_at"), datetime.now(UTC))
        log.append({
            "request_id": name, "key": name, "probability": 0.5, "decision": True,
            "model_version": "1", "model_digest": "0" * 64, **times,
        })  # fmt: skip
    log.close()


def _archive(folder: Path) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(folder, arcname=".")
    made.seek(0)
    return made


def test_lines_and_compacted_records_are_counted_once(tmp_path: Path) -> None:
    _log(tmp_path, "abc")
    [segment] = tmp_path.glob("*.jsonl")
    content = segment.read_bytes()
    compaction.compact_log(USE_CASE, tmp_path)
    segment.write_bytes(content)  # as if the compaction was killed before it removed the segment
    _log(tmp_path, "de")
    [other] = set(tmp_path.glob("*.jsonl")) - {segment}
    other.write_bytes(other.read_bytes() + b'{"torn')
    assert (
        facts.count_predictions(_archive(tmp_path))
        == len(reader.read_predictions(USE_CASE, tmp_path))
        == 5
    )


def test_a_log_without_records_has_none(tmp_path: Path) -> None:
    assert facts.count_predictions(_archive(tmp_path)) == 0


def test_versions_champion_and_release_are_counted(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert facts.registry_facts(settings) == {"versions": 0, "champion": None, "released": None}
    registry = mlflow_client(settings)
    registry.create_registered_model(USE_CASE.name)
    for _ in range(2):
        registry.create_model_version(USE_CASE.name, str(tmp_path))
    first, second = (ServedModel(name, "0" * 64, "elsewhere", 0.5) for name in "12")
    write_release_document(settings, registry, Release(2, second, datetime.now(UTC)))
    write_release(settings, Release(1, first, datetime.now(UTC)))
    assert facts.registry_facts(settings) == {"versions": 2, "champion": "2", "released": "1"}
