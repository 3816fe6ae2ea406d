"""Run the engine's commands for backup and restore, with clear errors and safe interruption."""

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
    """Run the command and return its output; raise `StackError` with its errors if it fails."""
    with (stdin or Path(os.devnull)).open("rb") as input_file:
        run = subprocess.run(
            command, cwd=ROOT, stdin=input_file, capture_output=True, text=True, check=False
        )
    if run.returncode != 0:
        raise StackError(
            f"`{_short(command)}` failed: {(run.stderr or run.stdout).strip()[-2000:]}"
        )
    return run.stdout.strip()


def pipe_command(command: list[str], into: list[str]) -> str:
    """Pipe the command's output into `into` and return the output of `into`.

    Raises `StackError` if either fails.
    """
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
    """Write the command's output to `path`, a new file; return its size and sha256."""
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as errors, path.open("xb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
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
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()
            raise StackError(f"`{_short(command)}` failed: {text[-2000:]}")
    return {"size": size, "sha256": digest.hexdigest()}


def describe_stack() -> Stack:
    """Return the stack's names from Compose; raise `StackError` without an engine or .env."""
    return Stack.from_config(
        json.loads(run_command(compose("--profile", "*", "config", "--format", "json")))
    )


def require_no_user_command(stack: Stack) -> None:
    """Raise `StackError` while a user's command runs in the stack, because it may write."""
    labels = (f"com.docker.compose.project={stack.project}", "com.docker.compose.oneoff=True")
    filters = [f"--filter=label={label}" for label in labels]
    if running := run_command(["docker", "ps", *filters, "--format", "{{.Names}} {{.Command}}"]):
        raise StackError(f"A command runs in the stack: {running}. Wait until it has ended.")


@contextmanager
def hold_stack_lock() -> Iterator[None]:
    """Allow one backup or restore of this checkout; SIGTERM and SIGHUP interrupt like Ctrl-C."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    os.umask(0o077)
    with (ROOT / "docker-compose.yml").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError(
                "Another backup or restore is running. Wait until it has ended."
            ) from error
        yield


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore SIGINT, SIGTERM and SIGHUP during a clean-up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers):  # noqa: B905 - older than Python 3.10
            signal.signal(number, handler)


def _short(command: list[str]) -> str:
    return " ".join(word for word in command if not word.startswith("-"))[:200]
