"""How the feature store is opened and brought in step with the definitions."""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

from feast import Entity, FeatureStore, FeatureView, Field, Project
from feast.errors import ProjectObjectNotFoundException
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.repo_config import load_repo_config
from feast.types import from_value_type

import settings as configuration
from features.lookup import Read
from usecase.feature_views import OBJECTS, VIEWS

YAML = Path(__file__).parent / "feature_store.yaml"
APPLIED = "definitions"  # the tag


def open_store(settings: configuration.Settings) -> FeatureStore:
    """The store of this checkout; relative paths of its sources are below `settings.root`."""
    # Feast and ibis warn the user of what is theirs to mend: an interface that they have kept for
    # years, and a method of DuckDB that is about to be renamed.
    warnings.filterwarnings("ignore", message="On demand feature view is an experimental")
    warnings.filterwarnings("ignore", message="fetch_arrow_table\\(\\) is deprecated")
    settings.apply_environment()  # the YAML names the registry and the online store by variable
    (settings.var / "feast").mkdir(parents=True, exist_ok=True)
    os.chdir(settings.root)  # the DuckDB store reads relative paths from here
    return FeatureStore(repo_path=str(settings.root), fs_yaml_file=YAML)


def apply(settings: configuration.Settings) -> FeatureStore:
    """Opens the store and registers the definitions where they differ from what is registered.

    The registry itself holds, as a tag of the project, the version of the definitions that were
    applied completely: applying costs seconds.
    """
    store = open_store(settings)
    version = definitions_version()
    if _applied(store) != version:
        store.apply(OBJECTS)
        store.registry.apply_project(Project(name=store.project, tags={APPLIED: version}))
    return store


def _applied(store: FeatureStore) -> str | None:
    try:
        return store.registry.get_project(store.project).tags.get(APPLIED)
    except ProjectObjectNotFoundException:
        return None


def online_reader(settings: configuration.Settings) -> Read:
    """Reads all views of the use case online. Needs the online store alone, and no registry."""
    settings.apply_environment()
    (settings.var / "feast").mkdir(parents=True, exist_ok=True)
    config = load_repo_config(settings.root, YAML)
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


def registered(store: FeatureStore) -> list[FeatureView]:
    """The views as the registry has them: Feast learns a view's keys when it is applied."""
    return [store.get_feature_view(view.name) for view in VIEWS]


def definitions_version() -> str:
    """A digest of all definitions, without their time stamps: the registry's version in lineage."""
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
