"""The kernel's lock allows one run at a time; a taken port is reported with its holder."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.runtime import exclusive
from settings import Settings, UserError

# Takes the lock, starts a child that outlives it, prints its pid and waits for its kill.
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from pipelines.runtime import exclusive
from settings import Settings
with exclusive.run_lock(Settings(home=Path(sys.argv[1]))):
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(orphan.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_second_run_is_refused_with_the_holder_and_its_start(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    message = f"Another run is at work in .*: pid {os.getpid()}, since 20.*00:00 \\("
    with exclusive.run_lock(settings):
        with pytest.raises(UserError, match=message), exclusive.run_lock(settings):
            pytest.fail("two runs at once")
        # A refused attempt does not take the lock from its holder.
        with pytest.raises(UserError), exclusive.run_lock(settings):
            pytest.fail("two runs at once")
        assert exclusive.is_run_active(settings)
    assert not exclusive.is_run_active(settings)
    with exclusive.run_lock(settings):
        assert str(os.getpid()) in (settings.state / "run.lock").read_text()


def test_the_lock_of_a_run_killed_with_9_is_free_though_its_child_lives(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout as output:
        orphan = int(output.readline())
        try:
            with pytest.raises(UserError, match=f"pid {holder.pid}"), exclusive.run_lock(settings):
                pytest.fail("two runs at once")
            holder.kill()
            holder.wait(20)
            with exclusive.run_lock(settings):
                os.kill(orphan, 0)
        finally:
            os.kill(orphan, 9)


def test_a_run_that_fails_gives_the_lock_back(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(ZeroDivisionError), exclusive.run_lock(settings):
        1 / 0  # noqa: B018
    with exclusive.run_lock(settings):
        pass


def test_a_taken_port_is_reported_with_its_holder_and_the_setting(listener: int) -> None:
    assert not exclusive.is_port_free(listener)
    message = (
        f"Port {listener} \\(the service\\) is taken by pid {os.getpid()} \\(.*MLOPS_SERVICE_PORT"
    )
    with pytest.raises(UserError, match=message):
        exclusive.require_port_free(listener, "the service", "MLOPS_SERVICE_PORT")


def test_a_port_that_nobody_listens_on_is_free(listener: int) -> None:
    with socket.create_connection(("127.0.0.1", listener)):
        assert not exclusive.is_port_free(listener)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    assert exclusive.is_port_free(port)
    exclusive.require_port_free(port, "the service", "MLOPS_SERVICE_PORT")
