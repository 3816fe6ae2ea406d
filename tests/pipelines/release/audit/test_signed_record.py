"""The release and its record are signed: edits, a forged record and foreign keys are found."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.operations import doctor
from pipelines.release import promotion, rollback
from pipelines.release.audit import entry_store, key_changes, release_document
from pipelines.release.audit.trail import AuditEntry, StoredEntry
from pipelines.release.audit.verification import repair_release_document, verify_release
from pipelines.training import mlflow_tracking
from serving.release import document, keys, signatures
from serving.release.document import GENESIS, HistoryHead
from serving.release.signatures import SignatureError
from settings import LoopError, Settings, UserError
from tests.released import audit_entries, served_release
from tests.use_case import USE_CASE

ME = {"by": "me", "why": "it is right"}


def edit_file(settings: Settings, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit the services' release file as a person would."""
    fields = json.loads(settings.release_file.read_text())
    change(fields)
    settings.release_file.write_text(json.dumps(fields, indent=2))


def other_threshold(fields: dict[str, Any]) -> None:
    fields["champion"]["threshold"] = 0.99


def other_version(fields: dict[str, Any]) -> None:
    fields["champion"] |= {"version": "2", "path": "../models/2/served"}


def without_signature(fields: dict[str, Any]) -> None:
    other_threshold(fields)
    del fields["signature"]


EDITS = [other_threshold, other_version, without_signature]


def problems_of(settings: Settings) -> str:
    return "\n".join(verify_release(settings)[0])


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_release_file_is_reported_by_every_command_and_repaired(
    edit: Callable[[dict[str, Any]], object], released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(released.home))
    before = served_release(released)
    edit_file(released, edit)
    with pytest.raises(SignatureError, match="not followed"):
        document.read_release(released)
    assert "not followed" in problems_of(released)
    assert not doctor.run_checks(released)["release"].ok
    for command in (["history", "--verify"], ["status"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 1
        assert "is not followed" in " ".join(result.output.split())
    repair_release_document(released, **ME)
    assert served_release(released) == before
    assert problems_of(released) == ""
    assert doctor.run_checks(released)["record"].ok


def test_the_next_change_replaces_an_edited_file(released: Settings) -> None:
    edit_file(released, other_threshold)
    promotion.promote(released, "2", **ME)
    assert served_release(released).champion.version == "2"
    assert problems_of(released) == ""


def stored_entries(settings: Settings) -> list[StoredEntry]:
    client = mlflow_tracking.mlflow_client(settings)
    found = entry_store.read_entries(settings, client)
    return sorted(found, key=lambda each: int(each.tags["seq"]))


def forge_record(settings: Settings, by: str, *, signed_by: Settings | None = None) -> None:
    """Rewrite each entry with another name, all digests, the document and the release file."""
    client = mlflow_tracking.mlflow_client(settings)
    head = GENESIS
    entries = stored_entries(settings)
    for each in entries:
        entry = replace(AuditEntry.parse(each.tags["entry"]), by=by, previous=head)
        head = entry.digest
        tags = {**entry.readable_tags(), "entry": entry.body, "digest": head}
        if signed_by is not None:
            tags["signature"] = signatures.sign(signed_by, "entry", entry.body.encode())
        for name, text in tags.items():
            client.set_tag(each.run_id, name, text)
    text = release_document.read_document_text(settings, client)
    fields = json.loads(text or "")
    fields["history"]["head"] = head
    if signed_by is not None:
        fields.pop("signature")
        text = signatures.sign_json(signed_by, "release", fields)
    else:
        text = json.dumps(fields)
    client.set_registered_model_tag(USE_CASE.name, "release", text)
    settings.release_file.write_text(text)


def test_a_record_that_was_rewritten_as_a_whole_is_detected(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    forge_record(released, "somebody else")
    assert "was changed after it was signed" in problems_of(released)
    with pytest.raises(SignatureError):
        rollback.rollback(released, **ME)
    with pytest.raises(SignatureError):
        document.read_release(released)


def test_a_forged_chain_below_a_signed_document_is_detected(released: Settings) -> None:
    """The document is honest, its newest entry has no signature: only a key holder adds entries."""
    promotion.promote(released, "2", **ME)
    client = mlflow_tracking.mlflow_client(released)
    newest = stored_entries(released)[-1]
    client.delete_tag(newest.run_id, "signature")
    assert "Entry 2 is not signed, but entry 1 is" in problems_of(released)
    client.set_tag(newest.run_id, "signature", stored_entries(released)[0].tags["signature"])
    assert "Entry 2 is not trusted: it was changed after it was signed" in problems_of(released)


def test_a_foreign_key_and_a_missing_key_are_not_trusted(
    released: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Settings(home=tmp_path_factory.mktemp("stranger"))
    forge_record(released, "a stranger", signed_by=stranger)
    assert "key that is not trusted" in problems_of(released)
    with pytest.raises(SignatureError, match="key that is not trusted"):
        document.read_release(released)
    released.trusted_keys_file.unlink()
    with pytest.raises(SignatureError, match="key that is not trusted"):
        promotion.promote(released, "2", **ME)


def test_a_signature_of_staging_or_of_an_entry_does_not_sign_a_release(released: Settings) -> None:
    content, _ = signatures.split_signed_json(released.release_file.read_bytes())
    for purpose in ("staging", "entry", "version"):
        text = signatures.sign_json(released, purpose, json.loads(content))  # type: ignore[arg-type]
        released.release_file.write_text(text)
        with pytest.raises(SignatureError):
            document.read_release(released)


def test_a_rotation_signs_the_release_and_earlier_signatures_count(released: Settings) -> None:
    old = released.signing_key_file.read_bytes()
    before = served_release(released)
    result = CliRunner().invoke(
        app, ["rotate-key", "--reason", "a year has passed"],
        env={"MLOPS_HOME": str(released.home)},
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert released.signing_key_file.read_bytes() != old
    assert released.signing_key_file.stat().st_mode & 0o777 == 0o600
    first, second = keys.read_trusted_keys(released)
    assert second in result.output
    signed_by = [each.tags["signature"].partition(":")[0] for each in stored_entries(released)]
    assert signed_by == [first, second]
    assert release_document.signing_key_of(released) == second
    assert served_release(released).champion == before.champion
    assert problems_of(released) == ""
    promotion.promote(released, "2", **ME)  # its files are signed by the first key
    assert problems_of(released) == ""


def test_a_key_that_leaked_can_be_withdrawn(
    released: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    thief = Settings(home=tmp_path_factory.mktemp("thief"))
    shutil.copytree(released.var / "keys", thief.var / "keys")
    key_changes.rotate_key(released, **ME)
    trusted = released.trusted_keys_file.read_text()
    released.trusted_keys_file.write_text(trusted[trusted.rindex("Key: ") :])
    assert problems_of(released) == ""  # the new signature covers the older entry
    forge_record(released, "a thief", signed_by=thief)
    assert "key that is not trusted" in problems_of(released)
    with pytest.raises(SignatureError):
        document.read_release(released)


def test_nothing_is_signed_by_a_key_that_readers_do_not_trust(
    released: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Settings(home=tmp_path_factory.mktemp("stranger"))
    keys.write_new_key(stranger)
    shutil.copy(stranger.signing_key_file, released.signing_key_file)
    before = released.release_file.read_bytes()
    with pytest.raises(LoopError, match="Nothing was signed"):
        promotion.promote(released, "2", **ME)
    assert released.release_file.read_bytes() == before
    assert problems_of(released) == ""


def test_a_restored_copy_of_the_keys_is_enough(released: Settings) -> None:
    copy = shutil.copytree(released.var / "keys", released.home / "copy")
    shutil.rmtree(released.var / "keys")
    assert "not trusted" in problems_of(released)
    shutil.copytree(copy, released.var / "keys")
    assert problems_of(released) == ""
    released.signing_key_file.unlink()
    with pytest.raises(LoopError, match="is lost"):
        promotion.promote(released, "2", **ME)
    key_changes.rotate_key(released, **ME)
    promotion.promote(released, "2", **ME)
    assert problems_of(released) == ""


def test_without_any_copy_of_the_keys_a_person_adopts_the_present_release(
    released: Settings,
) -> None:
    before = served_release(released)
    shutil.rmtree(released.var / "keys")
    with pytest.raises(SignatureError, match="--adopt"):
        promotion.promote(released, "2", **ME)
    adopted = key_changes.adopt_release(released, **ME)
    assert adopted.champion == before.champion
    assert audit_entries(released)[-1].details["adopted"] is True
    assert problems_of(released) == ""  # the new signature covers the first entry by its digest
    with pytest.raises(UserError, match="nothing to adopt"):
        key_changes.adopt_release(released, **ME)


def remove_signatures(settings: Settings) -> None:
    """Bring a home to the state of a version without signatures."""
    client = mlflow_tracking.mlflow_client(settings)
    for each in stored_entries(settings):
        client.delete_tag(each.run_id, "signature")
    content, _ = signatures.split_signed_json(settings.release_file.read_bytes())
    client.set_registered_model_tag(USE_CASE.name, "release", content.decode())
    settings.release_file.write_bytes(content)
    shutil.rmtree(settings.var / "keys")


def test_a_home_that_lost_its_trusted_keys_is_not_an_older_one(released: Settings) -> None:
    keys = released.var / "keys"
    private = (keys / "signing.pem").read_bytes()
    remove_signatures(released)
    keys.mkdir()
    (keys / "signing.pem").write_bytes(private)
    result = CliRunner().invoke(app, ["status"], env={"MLOPS_HOME": str(released.home)})
    assert "is signed" not in result.output
    assert "it is not signed" in result.output or "[not_signed]" in result.output
    assert all(each.signature_fault for each in stored_entries(released))


def test_a_home_from_before_signatures_is_verified_and_signed(released: Settings) -> None:
    promotion.promote(released, "2", **ME)
    remove_signatures(released)
    before = json.loads(released.release_file.read_text())
    result = CliRunner().invoke(app, ["status"], env={"MLOPS_HOME": str(released.home)})
    assert "Its record was verified and is signed" in result.output
    assert served_release(released).champion.version == before["champion"]["version"]
    assert problems_of(released) == ""
    newest = audit_entries(released)[-1]
    assert (newest.by, newest.details["adopted"]) == ("upgrade", True)
    assert [each.signature_fault for each in stored_entries(released)] == [
        signatures.UNSIGNED, signatures.UNSIGNED, None,
    ]  # fmt: skip
    edit_file(released, lambda fields: fields.pop("signature"))
    assert "it is not signed" in problems_of(released)  # from now on


def edit_document(settings: Settings) -> None:
    client = mlflow_tracking.mlflow_client(settings)
    text = str(release_document.read_document_text(settings, client))
    text = text.replace('"threshold":0.2', '"threshold":0.99')
    client.set_registered_model_tag(USE_CASE.name, "release", text)


def edit_both(settings: Settings) -> None:
    edit_document(settings)
    edit_file(settings, other_threshold)


def edit_entry(settings: Settings) -> None:
    client = mlflow_tracking.mlflow_client(settings)
    client.set_tag(stored_entries(settings)[0].run_id, "by", "somebody else")


@pytest.mark.parametrize(
    "edit", [lambda settings: edit_file(settings, other_threshold), edit_both, edit_entry],
    ids=["file", "file and document", "entry"],
)  # fmt: skip
def test_what_does_not_verify_is_not_signed(
    edit: Callable[[Settings], object], released: Settings
) -> None:
    promotion.promote(released, "2", **ME)
    remove_signatures(released)
    edit(released)
    before = released.release_file.read_bytes()
    result = CliRunner().invoke(app, ["status"], env={"MLOPS_HOME": str(released.home)})
    assert "is not signed" in " ".join(result.output.split())
    assert result.exit_code == 1
    assert released.release_file.read_bytes() == before
    assert keys.has_no_keys(released)


def test_an_entry_from_before_signatures_that_is_changed_later_is_detected(
    released: Settings,
) -> None:
    promotion.promote(released, "2", **ME)
    remove_signatures(released)
    rollback.rollback(released, **ME)
    client = mlflow_tracking.mlflow_client(released)
    old = stored_entries(released)[0]
    entry = replace(AuditEntry.parse(old.tags["entry"]), by="somebody else")
    for name, text in {"entry": entry.body, "digest": entry.digest, "by": entry.by}.items():
        client.set_tag(old.run_id, name, text)
    assert "Entry 1 " in problems_of(released)


def test_the_stacks_other_parts_can_verify_but_not_sign(released: Settings) -> None:
    auditor = Settings(
        home=released.home, trusted_keys=released.trusted_keys_file,
        signing_key=released.home / "missing.pem",
    )  # fmt: skip
    assert problems_of(auditor) == ""
    before = released.release_file.read_bytes()
    with pytest.raises(UserError, match="no signing key"):
        promotion.promote(auditor, "2", **ME)
    assert released.release_file.read_bytes() == before
    assert problems_of(auditor) == ""
    with pytest.raises(UserError, match="no signing key"):
        key_changes.rotate_key(auditor, **ME)


def test_the_stack_signs_with_the_key_that_was_created_beside_it(released: Settings) -> None:
    folder = shutil.copytree(released.var / "keys", released.home / "keys")
    stack = Settings(
        home=released.home, trusted_keys=folder / "trusted.pem", signing_key=folder / "signing.pem"
    )
    with pytest.raises(UserError, match="make rotate-key"):
        key_changes.rotate_key(stack, **ME)
    private, public = keys.new_key_pair()
    (folder / "trusted.pem").write_bytes((folder / "trusted.pem").read_bytes() + public)
    (folder / "signing.pem").write_bytes(private)
    key = key_changes.rotate_key(stack, **ME)
    assert release_document.signing_key_of(stack) == key
    assert problems_of(stack) == ""


def test_an_unsigned_document_is_never_accepted_where_keys_are_set(released: Settings) -> None:
    """In the stack other parts can write MLflow and the state, but not the trusted keys."""
    folder = shutil.copytree(released.var / "keys", released.home / "keys")
    stack = Settings(
        home=released.home, trusted_keys=folder / "trusted.pem", signing_key=folder / "signing.pem"
    )
    remove_signatures(released)
    with pytest.raises(SignatureError):
        document.read_release(stack)
    with pytest.raises(SignatureError):
        promotion.promote(stack, "2", **ME)
    key_changes.adopt_release(stack, **ME)
    assert problems_of(stack) == ""
    assert document.read_release(stack) is not None


def test_an_empty_history_needs_no_signature(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    assert verify_release(settings)[1].entries == ()
    assert HistoryHead().head == GENESIS
    with pytest.raises(UserError, match="nothing to adopt"):
        key_changes.adopt_release(settings, **ME)
