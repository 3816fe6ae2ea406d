"""The release document in the registry, and its copies: the services' release file, the aliases.

The document is the tag `release` of the registered model, as signed JSON with the fields of the
services' release file (`serving.release.document`).
"""

from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from pipelines.registry import versions
from serving.release import document as release
from serving.release import keys, signatures
from serving.release.document import HistoryHead, Release, ServedModel, UtcTime
from settings import LoopError, Settings

RELEASE_TAG = "release"
MODEL_FIELDS = ("version", "digest", "threshold")  # that an audit entry records


@dataclass(frozen=True, config=release.STRICT)
class Unreleased:
    """The document before the first champion: approvals and a freeze are already possible."""

    generation: int
    changed_at: UtcTime
    champion: None
    challenger: None = None
    frozen: bool = False
    history: HistoryHead = HistoryHead()


ReleaseDocument = Release | Unreleased
DOCUMENT_ADAPTER: TypeAdapter[ReleaseDocument] = TypeAdapter(ReleaseDocument)
WHERE = f"(tag `{RELEASE_TAG}` of the registered model)"


def next_document(document: ReleaseDocument, **changed: Any) -> ReleaseDocument:
    """Return the next generation; `changed` may hold any other field."""
    fields = {**vars(document), **changed, "generation": document.generation + 1}
    return Release(**fields) if fields["champion"] else Unreleased(**fields)


def recorded_arms(document: ReleaseDocument) -> dict[str, Any]:
    """Return what `document` serves in the form of an audit entry."""
    champion, challenger = document.champion, document.challenger
    return {
        "generation": document.generation,
        "champion": champion and {name: getattr(champion, name) for name in MODEL_FIELDS},
        "challenger": challenger
        and {
            **{name: getattr(challenger.model, name) for name in MODEL_FIELDS},
            "stage": challenger.stage, "percent": challenger.percent, "name": challenger.name,
        },
        "frozen": document.frozen,
    }  # fmt: skip


def served_models(document: ReleaseDocument) -> list[ServedModel]:
    """Return the champion and the challenger, if any."""
    challenger = document.challenger and document.challenger.model
    return [model for model in (document.champion, challenger) if model]


def read_release_document(settings: Settings, client: Any) -> ReleaseDocument:
    """Return the registry's document; without one, the release file of a release before it.

    Raises `LoopError` if the document is malformed or lost, `SignatureError` if it is not signed.
    """
    text = read_document_text(settings, client)
    if text is not None:
        document, fault = parse_document(settings, text)
        if fault is not None and not _is_from_before_signatures(settings, document, fault):
            raise signatures.SignatureError(
                f"The release document {WHERE} is not followed: {fault}. Serving is unaffected. "
                "Run `mlops repair` to rewrite it from the release file. If a version without "
                "signatures wrote it, or the keys were lost: `mlops repair --adopt`."
            )
        return document
    served = release.read_release(settings)
    if served is not None and served.history.count:
        raise LoopError(
            f"The registry has lost its release document {WHERE}, but {settings.release_file} has "
            f"generation {served.generation}. Serving is unaffected. Run `mlops repair` to rewrite "
            "the document from this file.",
            code="document_lost",
        )
    return served or Unreleased(0, datetime.fromtimestamp(0, UTC), champion=None)


def read_document_text(settings: Settings, client: Any) -> str | None:
    """Return the text of the document in the registry; None if there is none."""
    model = versions.find_registered_model(settings, client)
    return model.tags.get(RELEASE_TAG) if model else None


def parse_document(settings: Settings, text: str) -> tuple[ReleaseDocument, str | None]:
    """Return the document, and why its signature does not count, if so.

    Raises `LoopError` if it is malformed.
    """
    try:
        content, signature = signatures.split_signed_json(text)
        document = DOCUMENT_ADAPTER.validate_json(content)
    except ValueError as error:
        raise LoopError(
            f"The release document {WHERE} cannot be used ({release.describe_fault(error)}). "
            "Serving is unaffected. Run `mlops repair` to rewrite it from the release file.",
            code="document_malformed",
        ) from error
    trusted = keys.read_trusted_keys(settings)
    return document, signatures.find_fault(trusted, "release", content, signature)


def signing_key_of(settings: Settings) -> str:
    """Return the id of the key that signed the services' release file; empty without one."""
    try:
        signature = signatures.split_signed_json(settings.release_file.read_bytes())[1]
    except (OSError, ValueError):
        return ""
    return (signature or "").partition(":")[0]


def _is_from_before_signatures(settings: Settings, document: ReleaseDocument, fault: str) -> bool:
    """Whether the unsigned document may be used: no key exists yet, or the file signs the same.

    The upgrade signs the file alone; the next change signs the document.
    """
    if fault != signatures.UNSIGNED:
        return False
    return keys.has_no_keys(settings) or read_served_release(settings) == document


def write_release_document(settings: Settings, client: Any, document: ReleaseDocument) -> None:
    """Sign and write the document. This commits the change: a later kill leaves it to be completed.

    A registered model that was deleted with all its versions is created again.
    """
    if versions.find_registered_model(settings, client) is None:
        client.create_registered_model(settings.usecase)
    signed = signatures.sign_json(settings, "release", release.document_fields(document))
    client.set_registered_model_tag(settings.usecase, RELEASE_TAG, signed)


def sync_file_and_aliases(settings: Settings, client: Any, document: ReleaseDocument) -> None:
    """Write the document to the services' release file and to the registry's aliases.

    A version that was deleted in the registry gets no alias; aliases are for people to read.
    """
    if isinstance(document, Release) and read_served_release(settings) != document:
        release.write_release(settings, document)
    model = versions.find_registered_model(settings, client)
    aliases = model.aliases if model else {}
    arms = recorded_arms(document)
    for alias in ("champion", "challenger"):
        version = arms[alias] and arms[alias]["version"]
        if version is not None and str(aliases.get(alias)) == version:
            continue
        if version is not None and versions.find_version(settings, client, version) is not None:
            client.set_registered_model_alias(settings.usecase, alias, version)
        elif alias in aliases:
            client.delete_registered_model_alias(settings.usecase, alias)


def read_served_release(settings: Settings) -> Release | None:
    """Return the services' release file; None if it is missing, malformed or not signed."""
    try:
        return release.read_release(settings)
    except LoopError:
        return None
