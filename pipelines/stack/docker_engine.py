"""How are the engine's commands run, so that a failure is told and an interruption put right?"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.stack.backup_folder import CHUNK_SIZE, StackError
from pipelines.stack.docker_commands import Stack, compose

ROOT = Path(__file__).parents[2]


def run_command(command: list[str], *, stdin: Path | None = None) -> str:
    """What the command says. Raises `StackError` with its own words if it fails."""
    with (stdin or Path(os.devnull)).open("rb") as given:
        run = subprocess.run(
            command, cwd=ROOT, stdin=given, capture_output=True, text=True, check=False
        )
    if run.returncode != 0:
        raise StackError(
            f"`{_short(command)}` failed: {(run.stderr or run.stdout).strip()[-2000:]}"
        )
    return run.stdout.strip()


def pipe_command(command: list[str], into: list[str]) -> str:
    """What `into` says of what the command gives it. Raises `StackError` if either fails."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        run = subprocess.run(
            into, cwd=ROOT, stdin=process.stdout, capture_output=True, text=True, check=False
        )
    if run.returncode != 0 or process.returncode != 0:
        raise StackError(
            f"`{_short(command)} | {_short(into)}` failed: {run.stderr.strip()[-2000:]}"
        )
    return run.stdout.strip()


def save_output(command: list[str], path: Path) -> dict[str, Any]:
    """Writes what the command says to `path`, which must not exist; its size and sha256."""
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as said, path.open("xb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
        )
        with process:
            try:
                for piece in iter(lambda: process.stdout.read(CHUNK_SIZE), b""):  # type: ignore[union-attr]
                    digest.update(piece)
                    size += len(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            except BaseException as error:
                process.terminate()
                if isinstance(error, OSError):
                    raise StackError(f"{path} can't be written ({error}).") from error
                raise
        if process.returncode != 0:
            said.seek(0)
            words = said.read().decode(errors="replace").strip()
            raise StackError(f"`{_short(command)}` failed: {words[-2000:]}")
    return {"size": size, "sha256": digest.hexdigest()}


def describe_stack() -> Stack:
    """Raises `StackError` without an engine, or without .env."""
    return Stack.of(
        json.loads(run_command(compose("--profile", "*", "config", "--format", "json")))
    )


def require_no_user_command(stack: Stack) -> None:
    """Raises `StackError` while a command of the user's runs in the stack: it may write."""
    labels = (f"com.docker.compose.project={stack.project}", "com.docker.compose.oneoff=True")
    filters = [f"--filter=label={label}" for label in labels]
    if running := run_command(["docker", "ps", *filters, "--format", "{{.Names}} {{.Command}}"]):
        raise StackError(f"A command runs in the stack; wait until it has ended: {running}")


@contextmanager
def hold_stack_lock() -> Iterator[None]:
    """Holds off another backup or restore of this checkout; SIGTERM and a hang-up raise, too."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    os.umask(0o077)
    with (ROOT / "docker-compose.yml").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError("Another backup or restore is at work: wait for its end.") from error
        yield


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """For what has to be put right: a second Ctrl-C must not keep us from it."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):  # noqa: B905 - older than Python 3.10
            signal.signal(number, handler)


def _short(command: list[str]) -> str:
    return " ".join(word for word in command if not word.startswith("-"))[:200]
