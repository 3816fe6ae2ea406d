"""The release document in the registry, and its copies: the services' release file, the aliases.

The document is the tag `release` of the registered model, as JSON with the fields of the services'
release file (`serving.release.document`).
"""

from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pipelines.registry import versions
from pipelines.registry.versions import REGISTERED_MODEL
from serving.release import document as release
from serving.release.document import HistoryHead, Release, ServedModel, UtcTime, first_fault
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

    Raises `LoopError` if the document is malformed or lost.
    """
    model = versions.find_registered_model(client)
    text = model.tags.get(RELEASE_TAG) if model else None
    where = f"(tag `{RELEASE_TAG}` of the registered model {REGISTERED_MODEL})"
    if text is not None:
        document: TypeAdapter[ReleaseDocument] = TypeAdapter(ReleaseDocument)
        try:
            return document.validate_json(text)
        except ValidationError as error:
            raise LoopError(
                f"The release document {where} cannot be used ({first_fault(error)}). Serving is "
                "unaffected. Run `mlops repair` to rewrite it from the release file.",
                code="document_malformed",
            ) from error
    served = release.read_release(settings.release_file)
    if served is not None and served.history.count:
        raise LoopError(
            f"The registry has lost its release document {where}, but {settings.release_file} has "
            f"generation {served.generation}. Serving is unaffected. Run `mlops repair` to rewrite "
            "the document from this file.",
            code="document_lost",
        )
    return served or Unreleased(0, datetime.fromtimestamp(0, UTC), champion=None)


def write_release_document(client: Any, document: ReleaseDocument) -> None:
    """Write the document. This commits the change: a later kill leaves it to be completed.

    A registered model that was deleted with all its versions is created again.
    """
    if versions.find_registered_model(client) is None:
        client.create_registered_model(REGISTERED_MODEL)
    client.set_registered_model_tag(REGISTERED_MODEL, RELEASE_TAG, release.document_json(document))


def sync_file_and_aliases(settings: Settings, client: Any, document: ReleaseDocument) -> None:
    """Write the document to the services' release file and to the registry's aliases.

    A version that was deleted in the registry gets no alias; aliases are for people to read.
    """
    if isinstance(document, Release) and read_served_release(settings) != document:
        release.write_release(settings.release_file, document)
    model = versions.find_registered_model(client)
    aliases = model.aliases if model else {}
    arms = recorded_arms(document)
    for alias in ("champion", "challenger"):
        version = arms[alias] and arms[alias]["version"]
        if version is not None and str(aliases.get(alias)) == version:
            continue
        if version is not None and versions.find_version(client, version) is not None:
            client.set_registered_model_alias(REGISTERED_MODEL, alias, version)
        elif alias in aliases:
            client.delete_registered_model_alias(REGISTERED_MODEL, alias)


def read_served_release(settings: Settings) -> Release | None:
    """Return the services' release file; None if it is missing or malformed."""
    try:
        return release.read_release(settings.release_file)
    except LoopError:
        return None
