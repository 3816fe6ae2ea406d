"""A home works after a move, after a copy, and after another version wrote it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from mlflow.store.db.utils import _get_alembic_config

from features import durable_files
from pipelines.release import promotion, rollback
from pipelines.release.audit import recorder
from pipelines.release.audit.verification import verify_release
from pipelines.runtime import schema_revisions, upgrade  # fmt: skip
from pipelines.training import mlflow_tracking, workspace
from serving.models.holder import ModelHolder
from settings import Settings, UserError
from tests.released import served_release

ME = {"by": "me", "why": "it is right"}
ROOT = Path(__file__).parents[3]
# Paths for people, where a run started, and the path of an experiment that is not ours.
EXEMPT = {("tags", "value"), ("logged_model_tags", "tag_value"), ("experiments", "/mlruns/0")}


def database(settings: Settings) -> Path:
    return settings.var / "mlflow" / "mlflow.db"


def mentions(settings: Settings, path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield table, column and value of each mention of `path` in MLflow's database."""
    with sqlite3.connect(database(settings)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            for row in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                found = connection.execute(
                    f'SELECT "{row[1]}" FROM "{table}" WHERE instr("{row[1]}", ?)',  # noqa: S608
                    (str(path),),
                )
                yield from ((table, row[1], str(value)) for (value,) in found.fetchall())


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(each): (each.stat().st_mtime_ns, each.stat().st_size) for each in files}


def works(settings: Settings) -> None:
    """Use a home whose champion is version 2, after version 1: verify, roll back, serve."""
    problems, chain = verify_release(settings)  # including the evidence, an MLflow artefact
    assert (problems, len(chain.entries)) == ([], 2)
    holder = ModelHolder(settings)
    assert holder.problem is None
    assert holder.current is not None
    shutil.rmtree(settings.state / "models" / "1")  # forces a new download
    assert rollback.rollback(settings, **ME)["version"] == "1"
    assert holder.refresh()
    assert holder.current.release.champion.version == "1"
    assert verify_release(settings)[0] == []


@pytest.fixture
def promoted(released: Settings) -> Settings:
    promotion.promote(released, "2", **ME)
    return released


def test_a_moved_home_works_and_has_no_path_of_its_old_place(
    promoted: Settings, tmp_path: Path
) -> None:
    moved = Settings(home=promoted.home.rename(tmp_path / "another place"))
    works(moved)
    left = [each for each in mentions(moved, promoted.home) if each[:2] not in EXEMPT]
    assert [each for each in left if not each[2].endswith("/mlruns/0")] == []
    assert str(tmp_path) not in served_release(moved).champion.path


def test_a_copied_home_writes_nothing_to_the_original(promoted: Settings, tmp_path: Path) -> None:
    before = contents(promoted.home)
    copy = Settings(home=shutil.copytree(promoted.home, tmp_path / "copy"))
    works(copy)
    with mlflow_tracking.start_run(copy, "another", {"training_id": "x"}) as run:
        mlflow_tracking.mlflow_client(copy).log_text(run.info.run_id, "text", "note.txt")
    assert run.info.artifact_uri.startswith((tmp_path / "copy").as_uri())
    assert contents(promoted.home) == before


def test_an_open_training_continues_in_the_moved_home(promoted: Settings, tmp_path: Path) -> None:
    as_of = datetime(2013, 5, 1, tzinfo=UTC)
    opened = workspace.open_workspace(promoted, as_of)
    config = opened / ".dvc" / "config"
    wanted = config.read_text()
    config.write_text(f"[cache]\n    dir = {promoted.var}/dvc/cache\n")  # as v0.1 wrote it
    moved = Settings(home=promoted.home.rename(tmp_path / "moved"))
    reopened = workspace.open_workspace(moved, as_of)
    assert reopened == moved.state / "training" / opened.name
    assert (reopened / ".dvc" / "config").read_text() == wanted
    assert str(tmp_path) not in wanted


def test_a_moved_home_of_the_first_version_has_its_release_made_relative(
    promoted: Settings, tmp_path: Path
) -> None:
    first = as_the_first_version_left_it(promoted)
    moved = Settings(home=first.home.rename(tmp_path / "moved"))
    works(moved)
    assert durable_files.read_json(moved.var / "format.json") == {"format": upgrade.STATE_FORMAT}
    assert durable_files.read_json(moved.release_file.with_name("release.json.format-1.bak"))
    copies = [f"mlflow.db.format-{number}.bak" for number in (1, 2)]
    assert all(database(moved).with_name(name).exists() for name in copies)
    state = recorder.read_recorded_release(moved).document
    assert state.champion is not None
    assert state.champion.path == "../models/1/served"


def as_the_first_version_left_it(settings: Settings) -> Settings:
    (settings.var / "format.json").unlink()
    for folder in settings.state.iterdir():  # there was one use case
        folder.rename(settings.var / folder.name)
    absolute = str(settings.var / "models" / "2" / "served")
    file = settings.var / "release" / "release.json"
    text = file.read_text().replace("../models/2/served", absolute)
    durable_files.write_file(file, text)
    with sqlite3.connect(database(settings)) as connection:
        connection.execute(
            "UPDATE registered_model_tags SET value = ? WHERE key = 'release'", (text,)
        )
    return settings


def set_back(settings: Settings) -> str:
    """Downgrade MLflow's database by one revision; return that revision."""
    engine = sqlalchemy.create_engine(f"sqlite:///{database(settings)}")
    config = _get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")
    engine.dispose()
    return revision(database(settings))


def revision(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_an_older_database_of_mlflow_is_migrated_after_a_copy(
    promoted: Settings, tmp_path: Path
) -> None:
    older = Settings(home=shutil.copytree(promoted.home, tmp_path / "older"))
    before = set_back(older)
    assert (
        before
        not in schema_revisions.known_revisions("mlflow", schema_revisions.MLFLOW_MIGRATIONS)[1]
    )
    works(older)
    assert {revision(database(older))} == schema_revisions.known_revisions(
        "mlflow", schema_revisions.MLFLOW_MIGRATIONS
    )[1]
    assert revision(database(older).with_name(f"mlflow.db.{before}.bak")) == before


def newer_mlflow(settings: Settings) -> None:
    with sqlite3.connect(database(settings)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


def newer_prefect(settings: Settings) -> None:
    path = settings.var / "prefect" / "prefect.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")


def newer_format(settings: Settings) -> None:
    durable_files.write_json(settings.var / "format.json", {"format": upgrade.STATE_FORMAT + 1})


@pytest.mark.parametrize(("newer", "message"), [
    (newer_mlflow, "schema ffffffffffff, which mlflow"),
    (newer_prefect, "schema ffffffffffff, which prefect"),
    (newer_format, f"has format {upgrade.STATE_FORMAT + 1}, but this version knows up to"),
])  # fmt: skip
def test_state_of_a_newer_version_is_refused_and_not_changed(
    newer: Callable[[Settings], None], message: str, promoted: Settings, tmp_path: Path
) -> None:
    home = Settings(home=shutil.copytree(promoted.home, tmp_path / "newer"))
    newer(home)
    before = contents(home.home)
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "status"], cwd=ROOT, text=True, check=False,
        capture_output=True, env=environment(home),
    )  # fmt: skip
    assert run.returncode == 2
    assert message in run.stderr.replace("\n", " ")
    assert "Nothing was changed" in run.stderr
    assert "Traceback" not in run.stderr
    with pytest.raises(UserError):
        upgrade.upgrade_home(home)
    assert contents(home.home) == before


def environment(settings: Settings) -> dict[str, Any]:
    return {**os.environ, "MLOPS_HOME": str(settings.home), "PYTHONPATH": str(ROOT)}


def test_a_new_home_has_this_format_and_opening_it_again_changes_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "new")
    upgrade.upgrade_home(settings)
    assert not settings.var.exists()
    mlflow_tracking.mlflow_client(settings)
    assert durable_files.read_json(settings.var / "format.json") == {"format": upgrade.STATE_FORMAT}
    before = contents(settings.home)
    upgrade.upgrade_home(settings)
    assert contents(settings.home) == before
