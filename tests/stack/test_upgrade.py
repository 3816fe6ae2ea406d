"""An older database is migrated and keeps its data; a newer one is refused and not changed."""

from collections.abc import Iterator

import httpx
import pytest

from tests.stack.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

# The database of MLflow 2.20: its first tables, its migrations up to that version, and one run.
OLD_MLFLOW = """
import os
import sqlalchemy
from alembic import command
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base

engine = sqlalchemy.create_engine(os.environ["MLFLOW_BACKEND_STORE_URI"])
Base.metadata.create_all(engine)
config = _get_alembic_config("")
with engine.begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, "4465047574b1")
with engine.begin() as connection:
    for statement in (
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage)"
        " VALUES (0, 'old', 'mlflow-artifacts:/0', 'active')",
        "INSERT INTO runs (run_uuid, name, status, start_time, lifecycle_stage, artifact_uri,"
        " user_id, experiment_id)"
        " VALUES ('0ld', 'kept', 'FINISHED', 1, 'active', 'mlflow-artifacts:/0', 'me', 0)",
        "INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan)"
        " VALUES ('0ld', 'cost', 537.5, 1, 0, false)",
    ):
        connection.execute(sqlalchemy.text(statement))
"""
UNKNOWN = "ffffffffffff"


class Databases:
    """A stack with only Postgres running."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def sql(self, database: str, statement: str) -> str:
        command = ("psql", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-tAc", statement, database)
        return self.stack.compose("exec", "-T", "postgres", *command).strip()

    def revision(self, database: str) -> str:
        return self.sql(database, "SELECT version_num FROM alembic_version")

    def stamp(self, database: str, revision: str) -> None:
        self.sql(database, f"UPDATE alembic_version SET version_num = '{revision}'")  # noqa: S608

    def everything(self, database: str) -> list[str]:
        """Return schema and rows without the random key of each dump."""
        output = self.stack.compose("exec", "-T", "postgres", "pg_dump", "-U", "postgres", database)
        return [line for line in output.splitlines() if "restrict " not in line]

    def once(self, service: str, *command: str) -> None:
        """Run a command in a container of the service, by default its own command."""
        self.stack.compose("run", "--rm", "-T", "--no-deps", service, *command)

    def refuses(self, service: str) -> str:
        """Return the output of the service, which must end with an error."""
        with pytest.raises(AssertionError) as error:
            self.once(service)
        return str(error.value)


@pytest.fixture(scope="module")
def databases(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    stack = Stack(tmp_path_factory.mktemp("upgraded"))
    try:
        stack.compose("up", "--detach", "--wait", "postgres")
        yield Databases(stack)
    finally:
        stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans")


def test_an_older_mlflow_is_migrated_and_keeps_its_runs_a_newer_one_is_refused(
    databases: Databases,
) -> None:
    databases.once("mlflow", "python", "-c", OLD_MLFLOW)
    assert databases.revision("mlflow") == "4465047574b1"

    databases.stack.compose("up", "--detach", "--wait", "mlflow")

    newest = databases.revision("mlflow")
    assert newest != "4465047574b1"
    url = databases.stack.url("MLFLOW", "/api/2.0/mlflow/runs/get?run_id=0ld")
    run = httpx.get(url, trust_env=False).raise_for_status().json()["run"]
    assert run["info"]["run_name"] == "kept"
    assert [(each["key"], each["value"]) for each in run["data"]["metrics"]] == [("cost", 537.5)]

    databases.stack.compose("stop", "mlflow")
    databases.stamp("mlflow", UNKNOWN)
    before = databases.everything("mlflow")
    output = databases.refuses("mlflow")
    assert f"the schema {UNKNOWN}, which mlflow" in output
    assert "Traceback" not in output
    assert databases.everything("mlflow") == before

    databases.stamp("mlflow", newest)
    databases.stack.compose("up", "--detach", "--wait", "mlflow")


def test_an_older_prefect_is_migrated_and_keeps_its_variables_a_newer_one_is_refused(
    databases: Databases,
) -> None:
    databases.once("prefect", "prefect", "server", "database", "upgrade", "-y")
    newest = databases.revision("prefect")
    databases.once("prefect", "prefect", "server", "database", "downgrade", "-y", "-r", "-3")
    assert databases.revision("prefect") != newest
    databases.sql("prefect", "INSERT INTO variable (name, value) VALUES ('kept', '\"yes\"')")

    databases.stack.compose("up", "--detach", "--wait", "prefect")

    assert databases.revision("prefect") == newest
    url = databases.stack.url("PREFECT", "/api/variables/name/kept")
    assert httpx.get(url, trust_env=False).raise_for_status().json()["value"] == "yes"

    databases.stack.compose("stop", "prefect")
    databases.stamp("prefect", UNKNOWN)
    before = databases.everything("prefect")
    output = databases.refuses("prefect")
    assert f"the schema {UNKNOWN}, which prefect" in output
    assert "Traceback" not in output
    assert databases.everything("prefect") == before
