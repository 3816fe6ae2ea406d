"""Which version serves: its files fetched and checked, the alias moved, the service told."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines import tracking
from pipelines.register import MODEL
from serving import release
from serving.evaluator import Evaluator
from settings import LoopError, Settings

CHAMPION = "champion"


def promote(settings: Settings, version: str) -> dict[str, Any]:
    """Makes `version` the champion: for the registry by its alias, for the service by the release.

    Where there is a staging service, the version answers there first. Each step may be repeated;
    what a killed promotion left undone, the next one does. Raises `LoopError` if the version's
    files are not those that were registered, or staging does not answer as it should.
    """
    if settings.staging_url:
        from pipelines import staging

        staging.rehearse(settings, version)
    served = fetch(settings, version)
    client = tracking.client(settings)
    before = champion(settings)
    if before != version:
        client.set_registered_model_alias(MODEL, CHAMPION, version)
    write(settings.release_file, served)
    return {"version": version, "before": before, "digest": served.digest}


def write(document: Path, served: release.ServedModel) -> None:
    """Has the services that follow `document` serve this, unless it says so already."""
    current = release.read(document)
    if current is None or current.champion != served:
        generation = current.generation + 1 if current else 1
        release.write(document, release.Release(generation, served, datetime.now(UTC)))


def champion(settings: Settings) -> str | None:
    """The version with the alias `champion`; None if there is none."""
    client = tracking.client(settings)
    found = client.search_registered_models(f"name = '{MODEL}'")
    return str(found[0].aliases[CHAMPION]) if found and CHAMPION in found[0].aliases else None


def fetch(settings: Settings, version: str) -> release.ServedModel:
    """Brings the version's files to `var/models/<version>/`, checked against its digest."""
    client = tracking.client(settings)
    registered = client.get_model_version(MODEL, version)
    digest = registered.tags["digest"]
    target = settings.var / "models" / version
    if not (target / "card.json").exists():
        draft = target.with_name(f".{version}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for artifact in ("served", "reference.parquet", "facts.json"):
            client.download_artifacts(registered.run_id, artifact, str(draft))
        facts = json.loads((draft / "facts.json").read_text())
        (draft / "card.json").write_text(json.dumps({**facts, "version": version}, indent=2))
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    try:
        Evaluator.load(target / "served", digest)
    except LoopError as error:
        raise LoopError(
            f"Version {version} is not promoted: its files are not those that were registered. "
            f"{error}"
        ) from error
    threshold = settings.params()["costs"]["threshold"]
    return release.ServedModel(version, digest, str(target / "served"), threshold)
