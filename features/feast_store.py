"""Open Feast's feature store and register the use case's definitions."""

import copy
import os
import warnings
from pathlib import Path
from typing import Any

import feast
from feast import FeatureService, FeatureStore, FeatureView, Field, Project
from feast.errors import ProjectObjectNotFoundException
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.repo_config import load_repo_config
from feast.types import from_value_type

import settings as configuration
from contract import FeatureViews, UseCase
from features import build_manifest, durable_files, locks
from features.online_values import ReadOnline

FEAST_CONFIG = Path(__file__).parent / "feature_store.yaml"
LOOKUP = "lookup"  # the service of all stored features
VERSION_TAG = "definitions"  # of the Feast project


def open_store(settings: configuration.Settings) -> FeatureStore:
    """Open the store of this checkout; its sources' paths are relative to `settings.root`."""
    # Users cannot act on these warnings: an interface that Feast has kept for years, and a method
    # that DuckDB is renaming and ibis calls.
    warnings.filterwarnings("ignore", message="On demand feature view is an experimental")
    warnings.filterwarnings("ignore", message="fetch_arrow_table\\(\\) is deprecated")
    settings.apply_environment()  # the YAML names the stores by variables
    (settings.state / "feast").mkdir(parents=True, exist_ok=True)
    os.chdir(settings.root)  # the DuckDB store reads relative paths
    return FeatureStore(repo_path=str(settings.root), fs_yaml_file=FEAST_CONFIG)


def apply_definitions(settings: configuration.Settings) -> FeatureStore:
    """Open the store; register the definitions if they differ from the registered ones.

    Applying costs seconds, so a tag of the project records the definitions last applied completely
    and the version of Feast. An embedded registry with other definitions is created anew, because
    Feast keeps views that no longer exist. The old registry is kept under another name.
    """
    registry = settings.state / "feast" / "registry.db"
    existed = registry.exists() and settings.feast_registry is None
    store = open_store(settings)
    version = (
        f"{build_manifest.definitions_version(settings.use_case)[:16]} feast {feast.__version__}"
    )
    if _applied(store) == version:
        return store
    with locks.hold_lock(registry.with_name("lock"), what="Another registration"):
        store = open_store(settings)
        if (before := _applied(store)) != version:
            if existed:
                name = f"{registry.name}.{(before or 'unknown').replace(' ', '-')}.bak"
                registry.replace(registry.with_name(name))
                durable_files.sync(registry.parent)
                store = open_store(settings)
            store.apply(feast_objects(settings.use_case.views()))
            store.registry.apply_project(Project(name=store.project, tags={VERSION_TAG: version}))
    return store


def feast_objects(definitions: FeatureViews) -> list[Any]:
    """Return what Feast registers: the definitions, and the service that looks up all views."""
    views = list(definitions.views)
    on_demand = [definitions.on_demand] if definitions.on_demand else []
    lookup = FeatureService(name=LOOKUP, features=views)
    return [*definitions.entities, *views, *on_demand, lookup]


def _applied(store: FeatureStore) -> str | None:
    try:
        return store.registry.get_project(store.project).tags.get(VERSION_TAG)
    except ProjectObjectNotFoundException:
        return None


def open_online_values(settings: configuration.Settings) -> ReadOnline:
    """Return a function that reads all views online; it needs no registry."""
    settings.apply_environment()
    (settings.state / "feast").mkdir(parents=True, exist_ok=True)
    config = load_repo_config(settings.root, FEAST_CONFIG)
    store: Any = get_online_store_from_config(config.online_store)
    return store.reader(config, keyed_views(settings.use_case))


def keyed_views(use_case: UseCase) -> list[FeatureView]:
    """Return the views with their entity columns, which Feast sets only when it applies a view."""
    definitions = use_case.views()
    entities = {each.name: each for each in definitions.entities}
    views = [copy.copy(view) for view in definitions.views]
    for view in views:
        keys = [entities[name] for name in view.entities]
        view.entity_columns = [
            Field(name=key.join_key, dtype=from_value_type(key.value_type)) for key in keys
        ]
    return views
