"""Tests of releases after a version, or the registered model, was deleted in MLflow."""

import shutil

import pytest

from pipelines.cli.release_history import approval_lines, history_lines
from pipelines.operations import doctor
from pipelines.registry import download
from pipelines.release import promotion, rollback
from pipelines.release.audit import approval_rules, recorder
from pipelines.release.audit.trail import AuditEntry
from pipelines.release.audit.verification import repair_release_document, verify_release
from pipelines.training import mlflow_tracking
from settings import LoopError, Settings, UserError
from tests.released import audit_entries, release_aliases, served_release
from tests.use_case import USE_CASE

ME = {"by": "me", "why": "it is right"}


def delete(settings: Settings, version: str) -> None:
    mlflow_tracking.mlflow_client(settings).delete_model_version(USE_CASE.name, version)


def newest(settings: Settings) -> AuditEntry:
    assert verify_release(settings)[0] == []
    return audit_entries(settings)[-1]


def test_a_champion_whose_version_was_deleted_can_be_rolled_back(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    delete(released, "2")
    assert rollback.rollback(released, **ME)["version"] == "1"
    assert served_release(released).champion.version == "1"
    assert release_aliases(released) == {"champion": "1"}
    entry = newest(released)
    assert (entry.action, entry.details["gone"]) == ("rollback", ["2"])
    stored = recorder.read_recorded_release(released).trail.newest
    assert stored is not None
    assert stored.concluded
    assert approval_rules.barred_by(audit_entries(released), "2") == entry


def test_every_change_works_after_the_champions_version_was_deleted(released: Settings) -> None:
    delete(released, "1")
    promotion.challenge(released, "2", "canary", 10, **ME)
    assert newest(released).details["gone"] == ["1"]
    rollback.freeze(released, **ME)
    assert served_release(released).frozen
    rollback.unfreeze(released, **ME)
    promotion.promote(released, "3", **ME)
    assert release_aliases(released) == {"champion": "3"}
    assert newest(released).details["gone"] == ["1"]


def test_a_challenger_whose_version_was_deleted_can_be_withdrawn(released: Settings) -> None:
    promotion.challenge(released, "2", "canary", 10, **ME)
    delete(released, "2")
    promotion.withdraw(released, **ME)
    assert served_release(released).challenger is None
    assert newest(released).details == {"barred": "2", "gone": ["2"]}


def test_a_rollback_to_a_deleted_version_needs_its_recorded_files(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    delete(released, "1")
    files = released.state / "models" / "1"
    spare = shutil.copytree(files, released.home / "spare")
    (files / "served" / "model.treelite").write_bytes(b"another model")
    with pytest.raises(LoopError, match="not those that were registered"):
        rollback.rollback(released, **ME)
    shutil.rmtree(files)
    with pytest.raises(LoopError, match=r"was deleted in the registry, and its files .*--to"):
        rollback.rollback(released, **ME)
    assert served_release(released).champion.version == "2"
    shutil.copytree(spare, files)
    assert rollback.rollback(released, **ME)["version"] == "1"
    assert release_aliases(released) == {}  # and not still at version 2
    assert newest(released).details["gone"] == ["1"]
    assert recorder.read_recorded_release(released).document.champion.version == "1"


def test_a_deleted_version_can_not_be_promoted(released: Settings) -> None:
    delete(released, "2")
    with pytest.raises(UserError, match="no version 2 in the registry"):
        promotion.promote(released, "2", **ME)


def test_a_version_without_a_digest_allows_rollback_but_no_promotion(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    for version in ("1", "3"):
        mlflow_tracking.mlflow_client(released).delete_model_version_tag(
            USE_CASE.name, version, "digest"
        )
    with pytest.raises(LoopError, match="lost its tag `digest`"):
        promotion.promote(released, "3", **ME)
    assert rollback.rollback(released, **ME)["version"] == "1"


def test_a_deleted_registered_model_is_repaired_from_the_release_file(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    mlflow_tracking.mlflow_client(released).delete_registered_model(USE_CASE.name)
    with pytest.raises(LoopError, match="mlops repair"):
        rollback.rollback(released, **ME)
    repair_release_document(released, **ME)
    assert newest(released).details["gone"] == ["2"]
    assert rollback.rollback(released, **ME)["version"] == "1"
    assert verify_release(released)[0] == []


def test_history_status_and_doctor_name_deleted_versions(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    assert doctor.check_registry(released).ok
    delete(released, "2")
    assert any("version 2 is missing in the registry" in line for line in approval_lines(released))
    check = doctor.check_registry(released)
    assert (check.ok, "version 2 was deleted" in check.message) == (False, True)
    rollback.rollback(released, **ME)
    output = "\n".join(history_lines(released))
    assert "gone: ['2']" in output
    assert "Deleted: version 2" in output


def delete_experiment(settings: Settings, name: str) -> None:
    client = mlflow_tracking.mlflow_client(settings)
    client.delete_experiment(client.get_experiment_by_name(name).experiment_id)


def test_a_deleted_experiment_of_the_record_is_restored_by_the_next_change(
    released: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    promotion.promote(released, "2", **ME)
    delete_experiment(released, f"{USE_CASE.name} releases")
    assert verify_release(released)[0]  # told, and not restored by reading
    assert rollback.rollback(released, **ME)["version"] == "1"
    assert (
        f"The experiment {USE_CASE.name} releases was deleted in MLflow. It is restored"
        in capsys.readouterr().err
    )
    assert newest(released).seq == 3
    delete_experiment(released, f"{USE_CASE.name} releases")
    rollback.freeze(released, **ME)
    assert newest(released).action == "freeze"


def test_a_deleted_experiment_of_trainings_is_restored_by_the_next_training(
    released: Settings,
) -> None:
    delete_experiment(released, USE_CASE.name)
    with mlflow_tracking.start_run(released, "next", {"candidate": "next"}) as run:
        assert run.info.experiment_id
    assert download.download_version(released, "3").version == "3"  # its run is back, too
