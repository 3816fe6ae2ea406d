"""Variables of another project in the user's shell lead no command to another place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.release import promotion, rollback
from pipelines.release.audit.verification import verify_release
from pipelines.runtime import upgrade
from pipelines.training import dvc_stages, mlflow_tracking
from pipelines.training.workspace import SOURCE_ROOT
from settings import Settings

PRINT_DATABASE = """
from prefect.settings import get_current_settings
print(get_current_settings().server.database.connection_url.get_secret_value())
"""
ME = {"by": "me", "why": "it is right"}


@pytest.fixture
def made(released: Settings) -> Settings:
    upgrade.upgrade_home(released)  # it was copied
    return released


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


def test_prefects_database_is_that_of_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"sqlite+aiosqlite:///{tmp_path}/other.db"
    (tmp_path / ".env").write_text(f"PREFECT_SERVER_DATABASE_CONNECTION_URL={other}")
    (tmp_path / "prefect.toml").write_text(f'[server.database]\nconnection_url = "{other}"')
    for name in ("SERVER", "API"):
        monkeypatch.setenv(f"PREFECT_{name}_DATABASE_CONNECTION_URL", other)
    home = Settings(home=tmp_path / "home")
    home.apply_environment()
    done = subprocess.run(
        [sys.executable, "-c", PRINT_DATABASE],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"sqlite+aiosqlite:///{home.var}/prefect/prefect.db"
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in Settings(
        home=tmp_path, prefect_url="http://prefect:4200/api"
    ).environment()  # fmt: skip


def test_dvc_uses_no_configuration_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".config" / "dvc").mkdir(parents=True)
    (tmp_path / ".config" / "dvc" / "config").write_text("[cache]\ntype = symlink")
    monkeypatch.setenv("HOME", str(tmp_path))
    home = Settings(home=tmp_path / "home")
    place = home.state / "training" / "one"
    dvc_stages.init_dvc(home, place)
    stage = {"cmd": "echo made > made", "outs": ["made"]}
    (place / "dvc.yaml").write_text(json.dumps({"stages": {"make": stage}}))
    assert dvc_stages.run_stage(home, place, "make")["ran"]
    assert not (place / "made").is_symlink()  # it would be broken after the home is moved


def test_an_empty_variable_counts_as_unset_also_for_the_tools(tmp_path: Path) -> None:
    """Compose passes an unset variable as an empty one; Feast reads its project from this one."""
    code = "import os, settings; settings.load_settings(); print(os.environ['MLOPS_USECASE'])"
    environment = {**os.environ, "MLOPS_HOME": str(tmp_path), "MLOPS_USECASE": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SOURCE_ROOT, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == Settings.model_fields["usecase"].default
