"""The probes of `mlops watch` on a real Postgres and Redis, working and broken."""

import subprocess
import time
from collections.abc import Iterator
from functools import partial

import pytest

from pipelines.operations import probes

pytestmark = pytest.mark.stack
PASSWORD = "not-a-secret"  # noqa: S105


def docker(*command: str) -> str:
    done = subprocess.run(["docker", *command], text=True, capture_output=True, check=True)
    return done.stdout.strip()


def port(container: str, inside: int) -> int:
    return int(docker("port", container, f"{inside}/tcp").splitlines()[0].rpartition(":")[2])


def works(probe: probes.Probe) -> bool:
    try:
        probe()
    except Exception:  # like `watch`: any error means that the part does not work
        return False
    return True


def comes_up(probe: probes.Probe) -> bool:
    deadline = time.monotonic() + 60
    while not (up := works(probe)) and time.monotonic() < deadline:
        time.sleep(0.3)
    return up


@pytest.fixture
def postgres() -> Iterator[str]:
    made = docker("run", "-d", "--rm", "-e", f"POSTGRES_PASSWORD={PASSWORD}", "-e",
                  "POSTGRES_USER=feast", "-p", "127.0.0.1::5432", "postgres:17")  # fmt: skip
    yield made
    docker("rm", "-fv", made)


@pytest.fixture
def redis() -> Iterator[str]:
    made = docker("run", "-d", "--rm", "-p", "127.0.0.1::6379", "redis:8",
                  "redis-server", "--requirepass", PASSWORD)  # fmt: skip
    yield made
    docker("rm", "-fv", made)


def test_postgres(postgres: str) -> None:
    address = f"127.0.0.1:{port(postgres, 5432)}/feast"
    probe = partial(probes.probe_postgres, f"postgresql+psycopg://feast:{PASSWORD}@{address}")
    assert comes_up(probe)
    assert not works(partial(probes.probe_postgres, f"postgresql+psycopg://feast:wrong@{address}"))
    docker("pause", postgres)
    try:
        assert not works(probe), "a paused Postgres accepts connections but answers nothing"
    finally:
        docker("unpause", postgres)
    assert comes_up(probe)


def test_redis(redis: str) -> None:
    address = f"127.0.0.1:{port(redis, 6379)}"
    probe = partial(probes.probe_redis, f"{address},password={PASSWORD}")
    assert comes_up(probe)
    assert not works(partial(probes.probe_redis, f"{address},password=wrong"))
    assert not works(partial(probes.probe_redis, address))
    docker("pause", redis)
    try:
        assert not works(probe)
    finally:
        docker("unpause", redis)
    assert comes_up(probe)
