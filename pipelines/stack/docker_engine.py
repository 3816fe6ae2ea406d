"""The engine's commands for backup, restore and keys, with clear errors and safe interruption."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipelines.runtime import interrupts
from pipelines.stack.backup_folder import VOLUMES, StackError, size_and_sha256

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stack:
    """The names that Compose derives from docker-compose.yml and .env."""

    project: str
    volumes: dict[str, str]  # the engine's names by ours
    network: str
    image: str
    redis: str  # image of Redis
    keys: Path  # the folder of the keys that sign releases


def compose(*command: str) -> list[str]:
    return ["docker", "compose", *command]


def container(image: str, *command: str, mounts: dict[str, str], options: str = "") -> list[str]:
    """Return a run of a command in a hardened container; unlike `compose run`, it keeps no log.

    Without `options` it has no network.
    """
    volumes = [f"--volume={name}:{path}" for name, path in mounts.items()]
    run = ["docker", "run", "--rm", "--init", "--interactive", "--pull=never", "--log-driver=none"]
    hardened = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    return [*run, *hardened, *volumes, *(options or "--network=none").split(), image, *command]


def redis_shell(script: str) -> list[str]:
    return compose("exec", "-T", "redis", "sh", "-c", script)


def run_command(
    command: list[str], *, stdin: Path | None = None, stdout: IO[bytes] | int = subprocess.PIPE
) -> str:
    """Run the command and return its output; raise `StackError` with its errors if it fails."""
    with (stdin or Path(os.devnull)).open("rb") as source:
        run = subprocess.run(
            command, cwd=ROOT, stdin=source, stdout=stdout, stderr=subprocess.PIPE, text=True,
            errors="replace", check=False,
        )  # fmt: skip
    if run.returncode != 0:
        short = " ".join(word for word in command if not word.startswith("-"))[:200]
        problem = (run.stderr or run.stdout or "").strip()[-2000:]
        raise StackError(f"`{short}` failed: {problem}")
    return (run.stdout or "").strip()


def save_output(command: list[str], path: Path) -> dict[str, Any]:
    """Write the command's output to `path`, a new file; return its size and sha256."""
    try:
        with path.open("xb") as file:
            run_command(command, stdout=file)
            os.fsync(file.fileno())
    except OSError as error:
        raise StackError(f"{path} can't be written ({error}).") from error
    return size_and_sha256(path)


def describe_stack() -> Stack:
    """Return the stack's names from Compose; raise `StackError` without an engine or .env."""
    config = json.loads(run_command(compose("--profile", "*", "config", "--format", "json")))
    volumes = {name: volume["name"] for name, volume in config["volumes"].items()}
    image, redis = (config["services"][name]["image"] for name in ("api", "redis"))
    network = config["networks"]["default"]["name"]
    keys = Path(config["secrets"]["signing-key"]["file"]).parent
    return Stack(config["name"], volumes, network, image, redis, keys)


def existing_volumes() -> list[str]:
    return run_command(["docker", "volume", "ls", "--quiet"]).split()


def require_no_user_command(stack: Stack) -> None:
    """Raise `StackError` while a user's command runs in the stack, because it may write."""
    labels = (f"com.docker.compose.project={stack.project}", "com.docker.compose.oneoff=True")
    filters = [f"--filter=label={label}" for label in labels]
    if running := run_command(["docker", "ps", *filters, "--format", "{{.Names}} {{.Command}}"]):
        raise StackError(f"A command runs in the stack: {running}. Wait until it has ended.")


def count_contents(stack: Stack, image: str, archived: Path | None = None) -> dict[str, Any]:
    """Return the counts that a restore must reproduce, by code of `image`, which fits its data.

    The prediction log is the tar `archived`, or else its volume.
    """
    log = "cat" if archived else f"tar --create --directory {VOLUMES['predictions']} ."
    mounts = {stack.volumes[name]: f"{VOLUMES[name]}:ro" for name in ("state", "predictions")}
    options = f"--network={stack.network} --env=MLOPS_TRACKING_URI=http://mlflow:5000"
    count = ("sh", "-c", f"{log} | python -m pipelines.stack.facts")
    printed = run_command(container(image, *count, mounts=mounts, options=options), stdin=archived)
    keys = run_command(redis_shell('REDISCLI_AUTH="$REDIS_PASSWORD" exec redis-cli dbsize'))
    return {**json.loads(printed.splitlines()[-1]), "online_keys": int(keys)}


def run_script(script: Callable[[], None], *, interrupted: str, failed: str = "") -> int:
    """Run a script of the stack, only one in this checkout at a time; return the exit code.

    Print its error with the text `failed`. A signal that ends it prints `interrupted`.
    """
    os.umask(0o077)
    try:
        with interrupts.ended_by_signals(interrupted), open(ROOT / "docker-compose.yml") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StackError(
                    "A backup, a restore or a change of the keys is running. Wait for its end."
                ) from error
            script()
    except StackError as problem:
        print(f"error: {problem}{failed}", file=sys.stderr)
        return 1
    return 0
