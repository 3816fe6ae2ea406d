"""Variables of another project in the user's shell lead no command to another place."""

import os
import shutil
from pathlib import Path

import pytest

from pipelines.release import promotion, rollback
from pipelines.release.audit.verification import verify_release
from pipelines.runtime import upgrade
from pipelines.training import mlflow_tracking
from settings import Settings
from tests.released import make_registry

ME = {"by": "me", "why": "it is right"}


@pytest.fixture
def made(original: Settings, tmp_path: Path) -> Settings:
    home = Settings(home=shutil.copytree(original.home, tmp_path / "home"))
    upgrade.upgrade_home(home)  # it was copied
    return home


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_registry(tmp_path_factory.mktemp("made") / "home")


@pytest.mark.parametrize("name", ["MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"])
def test_the_home_decides_where_its_registry_is(
    name: str, made: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv(name, f"sqlite:///{other}/registry.db")
    made.apply_environment()  # as every command does
    assert os.environ[name] == made.environment()[name]
    monkeypatch.setenv(name, f"sqlite:///{other}/registry.db")  # also where nobody applied it
    promotion.promote(made, "1", **ME)
    promotion.promote(made, "2", **ME)
    rollback.rollback(made, **ME)
    assert verify_release(made)[0] == []
    assert list(other.iterdir()) == []


def test_a_run_of_another_project_is_not_continued(
    made: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.setenv(name, "999")
    with mlflow_tracking.start_run(made, "ours", {"candidate": "ours"}) as run:
        assert run.data.tags["candidate"] == "ours"
