"""How the feature store is opened and brought in step with the definitions."""

from __future__ import annotations

import copy
import functools
import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import feast
from feast import Entity, FeatureStore, FeatureView, Field, Project
from feast.errors import ProjectObjectNotFoundException
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.repo_config import load_repo_config
from feast.types import from_value_type

import settings as configuration
from features import durable_files, locks
from features.online_values import ReadOnline
from usecase.feature_views import OBJECTS, VIEWS

FEAST_CONFIG = Path(__file__).parent / "feature_store.yaml"
VERSION_TAG = "definitions"  # the tag


def open_store(settings: configuration.Settings) -> FeatureStore:
    """The store of this checkout; relative paths of its sources are below `settings.root`."""
    # Feast and ibis warn the user of what is theirs to mend: an interface that they have kept for
    # years, and a method of DuckDB that is about to be renamed.
    warnings.filterwarnings("ignore", message="On demand feature view is an experimental")
    warnings.filterwarnings("ignore", message="fetch_arrow_table\\(\\) is deprecated")
    settings.apply_environment()  # the YAML names the registry and the online store by variable
    (settings.var / "feast").mkdir(parents=True, exist_ok=True)
    os.chdir(settings.root)  # the DuckDB store reads relative paths from here
    return FeatureStore(repo_path=str(settings.root), fs_yaml_file=FEAST_CONFIG)


def apply_definitions(settings: configuration.Settings) -> FeatureStore:
    """Opens the store and registers the definitions where they differ from what is registered.

    The registry itself holds, as a tag of the project, which definitions were applied completely,
    and by which Feast: applying costs seconds. An embedded registry of others is made anew, since
    Feast forgets no view that is gone; a copy of it is kept.
    """
    registry = settings.var / "feast" / "registry.db"
    held = registry.exists() and settings.feast_registry is None
    store = open_store(settings)
    version = f"{definitions_version()} feast {feast.__version__}"
    if _applied(store) == version:
        return store
    with locks.hold_lock(registry.with_name("lock"), what="Another registration"):
        store = open_store(settings)
        if (before := _applied(store)) != version:
            if held:
                _set_aside(registry, before or "unknown")
                store = open_store(settings)
            store.apply(OBJECTS)
            store.registry.apply_project(Project(name=store.project, tags={VERSION_TAG: version}))
    return store


def _set_aside(registry: Path, version: str) -> None:
    """Gives the registry, which holds the definitions `version`, a name of its own."""
    registry.replace(registry.with_name(f"{registry.name}.{version.replace(' ', '-')}.bak"))
    durable_files.sync(registry.parent)


def _applied(store: FeatureStore) -> str | None:
    try:
        return store.registry.get_project(store.project).tags.get(VERSION_TAG)
    except ProjectObjectNotFoundException:
        return None


def open_online_values(settings: configuration.Settings) -> ReadOnline:
    """Reads all views of the use case online. Needs the online store alone, and no registry."""
    settings.apply_environment()
    (settings.var / "feast").mkdir(parents=True, exist_ok=True)
    config = load_repo_config(settings.root, FEAST_CONFIG)
    store: Any = get_online_store_from_config(config.online_store)
    return store.reader(config, [_with_keys(view) for view in VIEWS])


def _with_keys(view: FeatureView) -> FeatureView:
    """As it is once it is applied: until then a view does not know its keys."""
    entities = {one.name: one for one in OBJECTS if isinstance(one, Entity)}
    keyed = copy.copy(view)
    keyed.entity_columns = [
        Field(name=entities[name].join_key, dtype=from_value_type(entities[name].value_type))
        for name in view.entities
    ]
    return keyed


def registered_views(store: FeatureStore) -> list[FeatureView]:
    """The views as the registry has them: Feast learns a view's keys when it is applied."""
    return [store.get_feature_view(view.name) for view in VIEWS]


@functools.cache
def definitions_version() -> str:
    """A digest of all definitions, without their time stamps: the registry's version in lineage.

    That of the first call in a process: Feast adds to the definitions when they are applied.
    """
    digest = hashlib.sha256()
    for definition in OBJECTS:
        digest.update(_text(definition).encode())
    return digest.hexdigest()[:16]


def _text(definition: Any) -> str:
    proto = definition.to_proto()
    _clear(proto)
    return str(proto)


def _clear(message: Any) -> None:
    """Removes what differs with the moment and the folder: time stamps, and pickled functions.

    The text of a function stays, beside its pickled body.
    """
    for field, value in message.ListFields():
        if field.name in {"meta", "body"}:
            message.ClearField(field.name)
        elif field.message_type:
            mapped = field.message_type.GetOptions().map_entry
            parts = value.values() if mapped else value if field.is_repeated else [value]
            for part in parts:
                if hasattr(part, "ListFields"):  # not a map of texts
                    _clear(part)
