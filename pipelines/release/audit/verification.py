"""Verification of the record (`mlops history --verify`), and repair of the release document.

The repair rewrites a malformed, lost, unsigned or outdated document from the services' release
file, and that file from the document: each is the last good copy of the other. A repair of the
document is an audit entry like any other change, and does not restore missing entries: the
verification continues to report them.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from pipelines.registry import download, version_files, versions
from pipelines.release.audit import entry_store, recorder
from pipelines.release.audit.recorder import EntryFields
from pipelines.release.audit.release_document import (
    RELEASE_TAG,
    ReleaseDocument,
    read_served_release,
    served_models,
    sync_file_and_aliases,
)
from pipelines.release.audit.trail import AuditTrail, verify_trail
from serving.release import document as release
from serving.release import keys
from serving.release.document import Challenger, HistoryHead, Release, ServedModel
from serving.release.signatures import SignatureError
from settings import LoopError, Settings, UnreachableError, UserError


def verify_release(settings: Settings, *, files: bool = True) -> tuple[list[str], AuditTrail]:
    """Return the problems, one sentence each, and the audit trail.

    With `files`, those of the served versions are checked, too, also in the registry. Raises
    `LoopError` if the release document is malformed or MLflow is unavailable.
    """
    try:
        recorded = recorder.read_recorded_release(settings, evidence=True)
    except SignatureError as error:
        return [str(error)], AuditTrail((), None, (), ())
    problems = list(recorded.trail.problems)
    if not problems and not recorded.is_consistent:
        problems.append("The release document was changed by hand: its newest entry differs.")
    if (problem := _problem_of_file(settings, recorded.document)) is not None:
        problems.append(problem)
    if files:
        problems += _problems_of_files(settings, recorded.document)
    return problems, recorded.trail


def _problems_of_files(settings: Settings, document: ReleaseDocument) -> list[str]:
    """Return which files of the served versions differ, in the registry and in their downloads."""
    problems = []
    for model in served_models(document):
        folder = (settings.release_file.parent / model.path).resolve().parent
        for where, check in (
            ("the registry", partial(download.check_registered_files, settings, model.version)),
            (str(folder), partial(version_files.verify_files, settings, folder)),
        ):
            try:
                check(model.digest)
            except UnreachableError:
                raise
            except LoopError as error:
                problems.append(f"Version {model.version} was changed in {where}: {error}")
    return problems


def _problem_of_file(settings: Settings, document: ReleaseDocument) -> str | None:
    """Return how the services' release file differs from the registry's document, if it does."""
    try:
        served = release.read_release(settings)
    except LoopError as error:
        return str(error)
    if served is None or served == document:
        return None  # a lost file is written again by the next change
    if (served.generation, served.history) != (document.generation, document.history):
        return (
            f"{settings.release_file} has generation {served.generation}, the registry "
            f"{document.generation}: a change was killed, or one of them was set back."
        )
    return f"{settings.release_file} and the registry contradict each other. Run `mlops repair`."


def repair_release_document(
    settings: Settings, *, by: str, why: str, at: datetime | None = None
) -> ReleaseDocument:
    """Make document, release file and the served versions' files agree; return the document.

    The document is rewritten from the release file, or from the newest entry of the record if both
    are unusable; the file is rewritten from a valid document; damaged files of the served versions
    are downloaded again. Raises `UserError` if there is nothing to repair, `LoopError` if the
    record is broken, too.
    """
    recorder.require_name_and_reason(by, why)
    entry: EntryFields = {"by": by, "why": why, "at": at}
    with recorder.release_lock(settings), versions.reraise_mlflow_errors(settings) as client:
        served = read_served_release(settings)
        document, found = _valid_document(settings)
        if document is not None and (served is None or served.generation <= document.generation):
            same = served == document or document.champion is None
            if not download.fetch_damaged_files(settings, *served_models(document)) and same:
                raise UserError(
                    f"The release document is valid (generation {document.generation}): there is "
                    "nothing to repair. The next change completes a change that was killed."
                )
            sync_file_and_aliases(settings, client, document)
            return document
        source = served or _document_on_record(settings, client, found)
        download.fetch_damaged_files(settings, *served_models(source))
        return recorder.apply_change(
            settings, client, source, entry, "repair", source.champion.version, {"found": found}
        )


def _document_on_record(settings: Settings, client: Any, found: str) -> Release:
    """Return the document that the newest concluded entry describes; `found` says why.

    Raises `LoopError` if the record has a problem or no champion.
    """
    stored = entry_store.read_entries(settings, client)
    numbers = [int(each.tags["seq"]) for each in stored if each.concluded]
    newest = [each for each in stored if each.tags.get("seq") == str(max(numbers, default=0))]
    history = HistoryHead(max(numbers), newest[0].tags["digest"]) if newest else HistoryHead()
    trail = verify_trail(stored, history)
    is_signed = keys.has_no_keys(settings) or not (newest and newest[0].signature_fault)
    champion = trail.entries[-1].after["champion"] if trail.entries else None
    if trail.problems or not is_signed or not champion:
        default = "The record has no champion." if is_signed else "Its newest entry is not signed."
        problem = next(iter(trail.problems), default)
        raise LoopError(
            f"{found} {settings.release_file} is unusable, too, and so is the record: {problem} "
            "Restore a backup (docs/stack.md), or remove the file and the tag "
            f"`{RELEASE_TAG}` of the registered model; then run `mlops promote VERSION`.",
            code="record_unusable",
        )
    entry = trail.entries[-1]
    arms = entry.after
    challenger = arms["challenger"]
    return Release(
        arms["generation"], _served_model(champion), entry.at,
        challenger and Challenger(
            _served_model(challenger), challenger["stage"], challenger["percent"], entry.at,
            challenger["name"],
        ),
        arms["frozen"], history,
    )  # fmt: skip


def _served_model(arm: Mapping[str, Any]) -> ServedModel:
    version = arm["version"]
    return ServedModel(version, arm["digest"], download.served_path(version), arm["threshold"])


def _valid_document(settings: Settings) -> tuple[ReleaseDocument | None, str]:
    """The document, None if it is unusable or its newest entry contradicts it; and why."""
    try:
        recorded = recorder.read_recorded_release(settings)
    except UnreachableError:
        raise
    except LoopError as error:
        return None, str(error)[:300]
    if not recorded.is_consistent and read_served_release(settings) != recorded.document:
        return None, "its newest entry contradicts it"
    return recorded.document, f"generation {recorded.document.generation}"
