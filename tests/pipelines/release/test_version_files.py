"""Every file of a version is signed with its digest: MLflow and a local edit can't replace one."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.operations import doctor
from pipelines.registry import version_files
from pipelines.registry.download import UnsignedVersionError
from pipelines.release import approvals, promotion, rollback
from pipelines.release.audit.verification import repair_release_document, verify_release
from pipelines.training import mlflow_tracking
from settings import LoopError, Settings
from tests.released import served_release
from tests.use_case import USE_CASE

ME = {"by": "me", "why": "it is right"}


def artefacts(settings: Settings, version: str) -> Path:
    """Return the folder with the version's files in the registry."""
    client = mlflow_tracking.mlflow_client(settings)
    run = client.get_run(client.get_model_version(USE_CASE.name, version).run_id)
    return Path(run.info.artifact_uri.removeprefix("file://"))


def edit_facts(folder: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps(facts | {"data_until": "2013-01-01T00:00+00:00"}))


def remove_reference(folder: Path) -> None:
    (folder / "reference.parquet").unlink()


def edit_list(folder: Path) -> None:
    edit_facts(folder)
    listed = json.loads((folder / version_files.LIST_FILE).read_text())
    digest = hashlib.sha256((folder / "facts.json").read_bytes()).hexdigest()
    listed["files"]["facts.json"] = digest
    (folder / version_files.LIST_FILE).write_text(json.dumps(listed))


def edit_card(folder: Path) -> None:
    card = folder / version_files.CARD_FILE
    card.write_text(card.read_text().replace("boosting", "another"))


@pytest.mark.parametrize("change", [edit_facts, remove_reference, edit_list])
def test_a_version_with_another_file_is_not_released(
    change: Callable[[Path], None], released: Settings
) -> None:
    change(artefacts(released, "2"))
    with pytest.raises(LoopError, match="files in the registry are not those") as refused:
        promotion.promote(released, "2", **ME)
    assert refused.value.code == "registry_files_damaged"
    assert served_release(released).champion.version == "1"


@pytest.mark.parametrize("change", [edit_facts, remove_reference, edit_list, edit_card])
def test_a_downloaded_version_with_another_file_is_downloaded_again(
    change: Callable[[Path], None], released: Settings
) -> None:
    folder = released.state / "models" / "1"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    change(folder)
    assert not doctor.check_models(released).ok
    [problem] = verify_release(released)[0]
    assert f"Version 1 was changed in {folder}" in problem
    repair_release_document(released, **ME)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert verify_release(released)[0] == []


def test_verification_finds_another_file_of_a_served_version_in_the_registry(
    released: Settings,
) -> None:
    edit_facts(artefacts(released, "1"))
    [problem] = verify_release(released)[0]
    assert "Version 1 was changed in the registry" in problem
    assert "facts.json is not the file that was registered" in problem


def test_another_model_with_its_digest_as_tag_is_not_released(released: Settings) -> None:
    """A writer of MLflow has everything but the key."""
    for name in ("served", "reference.parquet", "facts.json"):
        theirs, mine = artefacts(released, "2") / name, artefacts(released, "3") / name
        shutil.rmtree(theirs) if theirs.is_dir() else theirs.unlink()
        shutil.copytree(mine, theirs) if mine.is_dir() else shutil.copy(mine, theirs)
    client = mlflow_tracking.mlflow_client(released)
    digest = client.get_model_version(USE_CASE.name, "3").tags["digest"]
    client.set_model_version_tag(USE_CASE.name, "2", "digest", digest)
    with pytest.raises(LoopError, match="lists the files of another model"):
        promotion.promote(released, "2", **ME)


@pytest.mark.parametrize("signed", [False, True])
def test_a_version_that_no_trusted_key_signed_needs_its_digest_in_the_record(
    signed: bool, released: Settings, tmp_path: Path
) -> None:
    folder = artefacts(released, "2")
    (folder / version_files.LIST_FILE).unlink()
    if signed:  # by a stranger
        digest = json.loads((folder / "facts.json").read_text())["digest"]
        version_files.sign_files(Settings(home=tmp_path / "stranger"), folder, digest)
    with pytest.raises(UnsignedVersionError, match="mlops approve 2 --digest") as refused:
        promotion.promote(released, "2", **ME)
    assert refused.value.code == "version_not_signed"
    client = mlflow_tracking.mlflow_client(released)
    digest = client.get_model_version(USE_CASE.name, "2").tags["digest"]
    approvals.approve(released, "2", digest=digest, **ME)
    promotion.promote(released, "2", **ME)
    rollback.rollback(released, **ME)
    promotion.promote(released, "2", again=True, **ME)  # it was champion: the record has its digest
    assert served_release(released).champion.version == "2"


def test_no_list_is_signed_for_another_model(tmp_path: Path, released: Settings) -> None:
    folder = Path(shutil.copytree(artefacts(released, "2"), tmp_path / "copy"))
    (folder / version_files.LIST_FILE).unlink()
    with pytest.raises(LoopError, match="digest"):
        version_files.sign_files(released, folder, "0" * 64)
    assert not (folder / version_files.LIST_FILE).exists()
