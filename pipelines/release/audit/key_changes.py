"""Sign the release again: after a rotation of the key, or for the first time.

A release has its first signature after an upgrade from a version without signatures, or after the
loss of all keys. `python -m pipelines.release.audit.key_changes` signs that of the stack, where
`make up` has just created the keys.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from pipelines.registry import versions
from pipelines.release.audit import entry_store, recorder, release_document
from pipelines.release.audit.recorder import EntryFields, RecordedRelease
from pipelines.release.audit.release_document import ReleaseDocument
from pipelines.release.audit.trail import verify_trail
from serving.release import keys, signatures
from settings import LoopError, Settings, UserError, load_settings

UPGRADE: EntryFields = {
    "by": "upgrade", "why": "the record was whole, and from before signatures"
}  # fmt: skip


def rotate_key(settings: Settings, *, by: str, why: str, at: datetime | None = None) -> str:
    """Sign with a new key from now on, and the current release at once; return the key's id.

    Where the settings name the keys, as in the stack, the new key is already there. Raises
    `UserError` if it is not, and `LoopError` if the release is not signed by an earlier key.
    """
    with recorder.open_release(settings, {"by": by, "why": why, "at": at}) as (recorded, change):
        if settings.signing_key or settings.trusted_keys:
            key = keys.signing_key_id(settings)
            if key == release_document.signing_key_of(settings):
                raise UserError(
                    f"The release is already signed by the key {key}. Run `make rotate-key` "
                    "beside the stack, which creates a new one."
                )
        else:
            key = keys.write_new_key(settings)
        if recorded.document.generation:
            change("rotate-key", None, {"key": key})
    return key


def adopt_release(
    settings: Settings, *, by: str, why: str, at: datetime | None = None
) -> ReleaseDocument:
    """Sign the present release by an entry, because a person vouches for it.

    Document, newest entry and release file must agree; earlier problems of the record stay. Raises
    `UserError` if there is nothing to adopt, or a trusted key has signed before; `LoopError` if
    they contradict each other.
    """
    recorder.require_name_and_reason(by, why)
    return _adopt(settings, {"by": by, "why": why, "at": at})


def adopt_older_release(settings: Settings) -> ReleaseDocument:
    """Sign a release from before signatures if its whole record is verified.

    Raises the errors of `adopt_release`, and `LoopError` for any problem of the record.
    """
    return _adopt(settings, UPGRADE, whole=True)


def _adopt(settings: Settings, entry: EntryFields, *, whole: bool = False) -> ReleaseDocument:
    with recorder.release_lock(settings), versions.reraise_mlflow_errors(settings) as client:
        document, fault = _present_document(settings, client)
        stored = entry_store.read_entries(settings, client, evidence=whole)
        signed = any(each.signature_fault is None for each in stored)
        if fault is None or signed or (whole and fault != signatures.UNSIGNED):
            raise UserError(
                "The record holds signatures already, so there is nothing to adopt. If it has a "
                "problem, run `mlops repair`."
            )
        unsigned = [replace(each, signature_fault=signatures.UNSIGNED) for each in stored]
        trail = verify_trail(unsigned, document.history)
        if not RecordedRelease(document, trail).is_consistent or (whole and trail.problems):
            problem = next(iter(trail.problems), "Its newest entry contradicts it.")
            raise LoopError(f"The release document is not adopted. {problem}")
        version = document.champion.version if document.champion else None
        details = {"found": "; ".join([fault, *trail.problems]), "adopted": True}
        return recorder.apply_change(settings, client, document, entry, "repair", version, details)


def _present_document(settings: Settings, client: Any) -> tuple[ReleaseDocument, str | None]:
    """Return the document, and why its signature does not count; the file's, if there is no other.

    Raises `UserError` without either, `LoopError` if the two contradict each other.
    """
    text = release_document.read_document_text(settings, client)
    file = settings.release_file.read_text() if settings.release_file.exists() else None
    if text is None and file is None:
        raise UserError("Nothing is released yet, so there is nothing to adopt.")
    document, fault = release_document.parse_document(settings, text or file or "")
    if file is not None and release_document.parse_document(settings, file)[0] != document:
        raise LoopError(
            f"{settings.release_file} and the registry contradict each other, so neither is "
            "adopted. Remove the one that is wrong: the file, or the tag of the registered model."
        )
    return document, fault


if __name__ == "__main__":
    try:
        print(f"Signed generation {adopt_older_release(load_settings()).generation}.")
    except LoopError as error:  # the services then report that the release is not signed
        print(f"The release is not signed now. {error}")
