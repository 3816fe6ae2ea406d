"""SIGINT, SIGTERM, SIGHUP or a closed terminal end a command and its children; ports are free."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.runtime import exclusive

Home = Any  # of conftest.py
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A command that runs a shell with a child, and prints that child's pid.
NESTED = """
import sys
from pipelines.runtime import interrupts, run_command
with interrupts.ended_by_signals("Done."):
    run_command.run_to_end(["sh", "-c", "sleep 60 & echo $!; wait"])
"""


def start(home: Home, *command: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*home.mlops, *command], cwd=home.settings.home, env=home.environment() | variables,
        text=True, preexec_fn=home.heed_ctrl_c, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    output = ""
    while text not in output and (line := process.stdout.readline()):
        output += line
    assert text in output, output
    return output


def left_behind(home: Home) -> list[str]:
    """Return the commands of the live processes of this home, and of homes in it."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            of_home = process.environ().get("MLOPS_HOME", "").startswith(str(home.settings.home))
            if of_home and process.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(process.cmdline()))
    return left


def assert_ended(home: Home, process: subprocess.Popen[str], number: int) -> None:
    """The command printed one line and ended with the signal's code; nothing of it is left."""
    rest, _ = process.communicate(timeout=120)
    lines = [line for line in rest.splitlines() if "Stopped by" in line]
    assert lines == [f"Stopped by {signal.Signals(number).name}. Run the same command to continue."]
    assert "Traceback" not in rest
    assert process.returncode == 128 + number
    assert_nothing_left(home)


def assert_nothing_left(home: Home) -> None:
    assert left_behind(home) == []
    settings = home.settings
    taken = [settings.prefect_port, settings.service_port]
    assert [port for port in taken if not exclusive.is_port_free(port)] == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_command_with_all_that_it_runs(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NESTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        nested = psutil.Process(int(process.stdout.readline()))
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert errors == f"\nStopped by {signal.Signals(number).name}. Done.\n"
    assert process.returncode == 128 + number
    assert not nested.is_running() or nested.status() == psutil.STATUS_ZOMBIE


def test_a_command_under_nohup_survives_the_hangup() -> None:
    with subprocess.Popen(
        ["nohup", sys.executable, "-c", NESTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert process.poll() is None
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert errors.endswith("\nStopped by SIGTERM. Done.\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_service(
    make_home: Callable[..., Home], tmp_path: Path, number: int
) -> None:
    home = make_home(tmp_path)
    with start(home, "serve") as service:
        read_until(service, "service started")
        service.send_signal(number)
        rest, _ = service.communicate(timeout=60)
    assert "Traceback" not in rest
    assert service.returncode == 0
    assert_nothing_left(home)


def test_a_closed_terminal_ends_the_service(make_home: Callable[..., Home], tmp_path: Path) -> None:
    home = make_home(tmp_path)
    pid, terminal = pty.fork()  # a session of its own, with this terminal
    if pid == 0:
        os.chdir(home.settings.home)
        os.execve(home.mlops[0], [*home.mlops, "serve"], home.environment())
    output = b""
    while b"service started" not in output:
        output += os.read(terminal, 4096)
    os.close(terminal)
    deadline = time.monotonic() + 60
    while left_behind(home) and time.monotonic() < deadline:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.1)
    assert_nothing_left(home)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)]
)
def test_a_signal_ends_the_servers_of_the_pages(
    make_home: Callable[..., Home], a_free_port: Callable[[], int], tmp_path: Path, number: int
) -> None:
    home = make_home(tmp_path)
    ports = [a_free_port() for _ in range(3)]
    names = ("MLOPS_MLFLOW_PORT", "MLOPS_EVIDENTLY_PORT", "MLOPS_DOCS_PORT")
    variables = {name: str(port) for name, port in zip(names, ports, strict=True)}
    with start(home, "ui", BROWSER="true", **variables) as ui:
        read_until(ui, "Ctrl-C stops them.")
        ui.send_signal(number)
        rest, _ = ui.communicate(timeout=60)
    # A signal within the print of the line above prints it again.
    assert rest.removeprefix("Ctrl-C stops them.\n") == "Stopping.\n"
    assert ui.returncode == 0
    assert_nothing_left(home)
    assert all(map(exclusive.is_port_free, ports))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_turn_in_a_flow(
    make_home: Callable[..., Home], tmp_path: Path, number: int
) -> None:
    home = make_home(tmp_path)
    with start(home, "run") as turn:
        read_until(turn, "fetch and validate")
        time.sleep(1)  # until the announced step is under way
        turn.send_signal(number)
        assert_ended(home, turn, number)


@pytest.mark.long
def test_a_signal_ends_a_replay_with_its_servers(
    make_home: Callable[..., Home], tmp_path: Path
) -> None:
    home = make_home(tmp_path)
    period = ("--from", "2013-01-22", "--to", "2013-01-24")
    with start(home, "replay", *period) as replay:
        deadline = time.monotonic() + 120
        while not any("prefect" in command for command in left_behind(home)):
            assert replay.poll() is None, replay.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        replay.send_signal(signal.SIGTERM)
        assert_ended(home, replay, signal.SIGTERM)
