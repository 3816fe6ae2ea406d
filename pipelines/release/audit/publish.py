"""Publication of a recorded release: the services' release file, aliases and version tags."""

from __future__ import annotations

from typing import Any

from pipelines.registry import versions
from pipelines.registry.versions import REGISTERED_MODEL
from pipelines.release.audit.approval_rules import version_tags
from pipelines.release.audit.release_document import ReleaseDocument
from pipelines.release.audit.trail import AuditEntry
from serving.release import document as release
from serving.release.document import Release
from settings import LoopError, Settings


def sync_file_and_aliases(settings: Settings, client: Any, document: ReleaseDocument) -> None:
    """Write the document to the services' release file and to the registry's aliases.

    A version that was deleted in the registry gets no alias; aliases are for people to read.
    """
    if isinstance(document, Release) and read_served_release(settings) != document:
        release.write_release(settings.release_file, document)
    model = versions.find_registered_model(client)
    aliases = model.aliases if model else {}
    wanted = {
        "champion": document.champion.version if document.champion else None,
        "challenger": document.challenger.model.version if document.challenger else None,
    }
    for alias, version in wanted.items():
        if version is not None and str(aliases.get(alias)) == version:
            continue
        if version is not None and versions.find_version(client, version) is not None:
            client.set_registered_model_alias(REGISTERED_MODEL, alias, version)
        elif alias in aliases:
            client.delete_registered_model_alias(REGISTERED_MODEL, alias)


def conclude_entry(client: Any, entry: AuditEntry, run_id: str) -> None:
    """Tag the version with the decision, then mark the entry as concluded.

    A version that was deleted in the registry gets no tags; the entry has all facts.
    """
    for version, tags in version_tags(entry).items():
        if versions.find_version(client, version) is None:
            continue
        for name, text in tags.items():
            client.set_model_version_tag(REGISTERED_MODEL, version, name, text)
    client.set_terminated(run_id, status="FINISHED")


def read_served_release(settings: Settings) -> Release | None:
    """Return the services' release file; None if it is missing or malformed."""
    try:
        return release.read_release(settings.release_file)
    except LoopError:
        return None
