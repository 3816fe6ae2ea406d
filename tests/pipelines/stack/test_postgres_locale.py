"""New databases of the stack have an order of texts that no C library changes."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
USER = "nobody" if os.getuid() == 0 else None  # Postgres refuses to run as root
VERSIONED = "SELECT datcollate FROM pg_database WHERE datcollversion IS NOT NULL"
ORDERED = "SELECT string_agg(x, ' ' ORDER BY x) AS found FROM unnest(ARRAY['ab', 'a-b', 'A']) x"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that Postgres' user can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        if USER:
            shutil.chown(name, USER)
        yield Path(name)


def test_no_database_depends_on_the_version_of_a_locale(folder: Path) -> None:
    initdb, postgres = shutil.which("initdb"), shutil.which("postgres")
    if initdb is None or postgres is None:
        pytest.skip("this machine has no Postgres")
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["postgres"]

    def run(*command: str, given: str = "") -> str:
        return subprocess.run(
            command, user=USER, input=given, capture_output=True, text=True, check=True,
            cwd=folder, env={"PATH": os.environ["PATH"], "LANG": "en_US.UTF-8"},
        ).stdout  # fmt: skip

    data, arguments = str(folder / "data"), service["environment"]["POSTGRES_INITDB_ARGS"].split()
    run(initdb, "--pgdata", data, "--username=postgres", "--no-sync", *arguments)
    queries = (VERSIONED, ORDERED)
    found = run(postgres, "--single", "-D", data, "postgres", given=";\n".join([*queries, ""]))
    assert "datcollate = " not in found
    assert 'found = "A a-b ab"' in found
