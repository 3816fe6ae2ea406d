"""The version changes with the definitions; other definitions get a new registry."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from features import feast_store
from settings import Settings
from tests.use_case import USE_CASE

ROOT = Path(__file__).parents[2]
VIEWS = USE_CASE.views().views
UNCHECKED_CODE = """
import typeguard
upstream = typeguard.typechecked
import features.feast_store, feast
assert typeguard.typechecked is upstream
assert "typeguard" not in feast.Entity.__init__.__code__.co_names
"""
VERSION_CODE = (
    "from features.build_manifest import definitions_version; from settings import Settings"
    "; print(definitions_version(Settings().use_case))"
)


def version(code: Path) -> str:
    """Return the version of the code in this folder, from its own process."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", VERSION_CODE], cwd=code, check=True, text=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(code)},
    )  # fmt: skip
    return run.stdout.strip()


def test_only_feast_is_imported_without_typeguards_checks():
    subprocess.run([sys.executable, "-W", "ignore", "-c", UNCHECKED_CODE], cwd=ROOT, check=True)


def test_the_version_depends_on_the_definitions_and_not_on_the_folder(tmp_path: Path):
    copy = tmp_path / "copy"
    for name in ("features", "usecases", "pipelines"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("settings.py", "contract.py", "parameters.py"):
        shutil.copy(ROOT / name, copy)
    assert version(copy) == version(ROOT)
    views = copy / USE_CASE.folder.relative_to(ROOT) / "feature_views.py"
    views.write_text(views.read_text().replace("timedelta(hours=1)", "timedelta(hours=2)"))
    assert version(copy) != version(ROOT)


def test_other_definitions_get_a_new_registry_and_the_old_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=tmp_path)
    older = feast_store.apply_definitions(settings).get_feature_view(VIEWS[0].name)
    older.name = "gone_since"
    opened = feast_store.open_store(settings)
    opened.apply([older])
    project = feast_store.Project(name=opened.project, tags={feast_store.VERSION_TAG: "of-before"})
    opened.registry.apply_project(project)

    views = feast_store.apply_definitions(settings).list_feature_views()

    assert {view.name for view in views} == {view.name for view in VIEWS}
    registry = settings.state / "feast" / "registry.db"
    assert b"gone_since" in registry.with_name("registry.db.of-before.bak").read_bytes()
    before = registry.stat().st_ino
    feast_store.apply_definitions(settings)
    assert registry.stat().st_ino == before
