"""Copy the data of the running stack while it serves predictions: `make backup [TO=folder]`.

The worker is stopped meanwhile. Only the prediction log still changes, and it can be copied at any
moment. `backup_folder.py` describes the files; they hold no secret of `.env`.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.stack import backup_folder, docker_commands, docker_engine
from pipelines.stack.backup_folder import StackError
from pipelines.stack.docker_commands import Stack, compose
from pipelines.stack.docker_engine import run_command

REQUIRED_SERVICES = {"postgres", "redis", "mlflow"}
IMAGE_LABEL_PREFIX = "org.opencontainers.image."


def back_up(target: Path) -> dict[str, Any]:
    """Write a whole backup to `target`, or nothing; return its manifest. Raises `StackError`."""
    stack = docker_engine.describe_stack()
    running = set(run_command(compose("ps", "--services", "--status", "running")).split())
    if missing := REQUIRED_SERVICES - running:
        raise StackError(
            f"{', '.join(sorted(missing))} must run for a backup. Start them: make up."
        )
    docker_engine.require_no_user_command(stack)
    image, labels = running_image()
    draft = backup_folder.make_draft(target)
    try:
        with worker_stopped():
            files = copy_data(stack, image, draft)
            contents = count_contents(stack, image, draft / "predictions.tar")
        manifest = {
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "version": labels.get(f"{IMAGE_LABEL_PREFIX}version", "unknown"),
            "commit": labels.get(f"{IMAGE_LABEL_PREFIX}revision", "unknown"),
            "contents": contents,
            "files": files,
        }
        backup_folder.finish_backup(draft, target, manifest)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # a finished draft is renamed
    return manifest


def running_image() -> tuple[str, dict[str, str]]:
    """Return the image that the stack runs, and its labels.

    It can differ from the image that this checkout builds.
    """
    identity = run_command(compose("ps", "--quiet", "mlflow"))
    [description] = json.loads(run_command(["docker", "inspect", identity]))
    return description["Image"], description["Config"]["Labels"]


@contextmanager
def worker_stopped() -> Iterator[None]:
    """Stop the worker for the block and start it again after any outcome.

    Also starts a worker that a killed backup left stopped.
    """
    if not run_command(compose("ps", "--all", "--quiet", "worker")):
        yield
        return
    print("Stopping the worker; an active flow gets time to end ...", flush=True)
    try:
        run_command(compose("stop", "worker"))
        yield
    finally:
        with docker_engine.ignore_interrupts():
            print("Starting the worker again ...", flush=True)
            # `start` does nothing while an interrupted stop is still in progress.
            run_command(compose("restart", "worker"))


def copy_data(stack: Stack, image: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Copy each database and volume to its file; return sizes and sha256 by file name."""
    commands = {
        f"{name}.dump": docker_commands.dump_database(name) for name in backup_folder.DATABASES
    }
    commands[backup_folder.REDIS_FILE] = docker_commands.redis_shell(
        docker_commands.SNAPSHOT_SCRIPT
    )
    commands |= {
        f"{name}.tar": docker_commands.pack_volume(stack, image, name)
        for name in backup_folder.VOLUMES
    }
    files = {}
    for name, command in commands.items():
        files[name] = docker_engine.save_output(command, folder / name)
        backup_folder.require_complete_file(folder / name)
        print(f"  {name:<18}{files[name]['size'] / 1e6:10,.1f} MB", flush=True)
    return files


def count_contents(stack: Stack, image: str, log: Path) -> dict[str, Any]:
    """Return the counts that a restore must reproduce; `log` is the archived prediction log."""
    facts: dict[str, Any] = json.loads(
        run_command(docker_commands.stack_facts(stack, image), stdin=log).splitlines()[-1]
    )
    keys = run_command(docker_commands.redis_shell(docker_commands.COUNT_KEYS_COMMAND))
    return {**facts, "online_keys": int(keys)}


def main() -> int:
    folder = sys.argv[1] if len(sys.argv) > 1 else ""
    target = Path(folder or time.strftime("backups/%Y-%m-%dT%H%M%SZ", time.gmtime()))
    try:
        with docker_engine.hold_stack_lock():
            manifest = back_up(target)
    except StackError as problem:
        print(f"error: {problem}\nNo backup was written.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. No backup was written.", file=sys.stderr)
        return 130
    contents = manifest["contents"]
    print(f"{target}: {backup_folder.summarise_contents(contents)}.")
    if contents["champion"] != contents["released"]:
        print(f"MLflow's champion differs from the release ({contents['released']}): mlops doctor.")
    print("It leaves out .env with the passwords, and the data of Prometheus and Grafana.")
    print(f"Next: copy it to another machine. To restore it: make restore FROM={target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
