"""A damaged or locked database is named, and stops only the commands that need it."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.main import app
from pipelines.runtime import embedded_databases
from settings import Settings, UnreachableError
from tests.released import served_release

Run = Callable[..., Result]
WHY = ("--by", "me", "--reason", "an incident")


@pytest.fixture
def mlops(released: Settings) -> Iterator[Run]:
    def run(*command: str) -> Result:
        done = CliRunner().invoke(app, command)
        assert "Traceback" not in done.output
        return done

    with patch.dict(os.environ, {"MLOPS_HOME": str(released.home)}):
        yield run


@pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + bytes(9000)])
def test_without_the_registrys_database_the_kill_switch_works(
    content: bytes, mlops: Run, released: Settings
) -> None:
    database = embedded_databases.mlflow_database(released)
    database.write_bytes(content)
    for command in (("history",), ("rollback", *WHY)):
        done = mlops(*command)
        assert done.exit_code == UnreachableError.exit_code
        assert f"error: {database} can't be used: " in done.output
    assert "warning: " in mlops("status").output
    assert "the freeze is not recorded yet" in mlops("freeze", *WHY).output
    assert served_release(released).frozen
    assert database.read_bytes() == content


def test_a_run_names_prefects_damaged_database_and_starts_nothing(
    mlops: Run, released: Settings
) -> None:
    database = released.var / "prefect" / "prefect.db"
    database.parent.mkdir()
    database.write_bytes(b"no database" * 1000)
    assert mlops("history").exit_code == 0  # needs MLflow's only
    done = mlops("run")
    assert done.exit_code == UnreachableError.exit_code
    assert f"error: {database} can't be used: file is not a database" in done.output
    assert not (released.state / "logs").exists()


def holder(database: Path, how: str = "EXCLUSIVE") -> sqlite3.Connection:
    """A program that has locked the database, such as a browser of SQLite files."""
    connection = sqlite3.connect(database, check_same_thread=False)
    connection.execute(f"BEGIN {how}")
    return connection


def test_a_locked_database_is_waited_for(
    released: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = embedded_databases.mlflow_database(released)
    monkeypatch.setattr(embedded_databases, "SILENT", 0.01)
    with closing(holder(database)) as other:
        timer = threading.Timer(0.2, other.rollback)
        timer.start()
        assert embedded_databases.moved_artefact_roots(released)  # it was copied
        timer.join()
    assert f"Waiting for the process that has locked {database}" in capsys.readouterr().err


def test_a_writer_waits_for_another_writer_that_readers_do_not_notice(
    released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = embedded_databases.mlflow_database(released)
    monkeypatch.setattr(embedded_databases, "SILENT", 0.01)
    with closing(holder(database, "IMMEDIATE")) as other:
        timer = threading.Timer(0.2, other.rollback)
        timer.start()
        with embedded_databases.open_database(database) as connection:
            connection.execute("UPDATE experiments SET name = name")
        timer.join()


def test_a_database_that_stays_locked_is_named(
    mlops: Run, released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = embedded_databases.mlflow_database(released)
    monkeypatch.setattr(embedded_databases, "SILENT", 0.01)
    monkeypatch.setattr(embedded_databases, "PATIENCE", 0.02)
    with closing(holder(database)):
        done = mlops("history")
    assert done.exit_code == UnreachableError.exit_code
    assert f"error: {database} can't be used: database is locked" in done.output
    assert mlops("history").exit_code == 0
