"""How is the data of the running stack copied, while it goes on serving? `make backup [TO=folder]`.

The worker stands still meanwhile: all that changes then is the log of predictions, which may be
copied at any moment. What is made is described in `backup_folder.py`; it holds no secret of `.env`.
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
    """Makes `target` or leaves nothing there; the manifest. Raises `StackError`."""
    stack = docker_engine.describe_stack()
    running = set(run_command(compose("ps", "--services", "--status", "running")).split())
    if missing := REQUIRED_SERVICES - running:
        raise StackError(f"{', '.join(sorted(missing))} must run for a backup: make up.")
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
        shutil.rmtree(draft, ignore_errors=True)  # by its end it has another name
    return manifest


def running_image() -> tuple[str, dict[str, str]]:
    """What the stack runs, which need not be what this checkout would build; and its labels."""
    identity = run_command(compose("ps", "--quiet", "mlflow"))
    [found] = json.loads(run_command(["docker", "inspect", identity]))
    return found["Image"], found["Config"]["Labels"]


@contextmanager
def worker_stopped() -> Iterator[None]:
    """The worker runs afterwards, whatever happens; also one that a killed backup left stopped."""
    if not run_command(compose("ps", "--all", "--quiet", "worker")):
        yield
        return
    print("Stopping the worker; a flow that runs has its time to end ...", flush=True)
    try:
        run_command(compose("stop", "worker"))
        yield
    finally:
        with docker_engine.ignore_interrupts():
            print("Starting the worker again ...", flush=True)
            # Not `start`, which does nothing where a stop that was interrupted is still under way.
            run_command(compose("restart", "worker"))


def copy_data(stack: Stack, image: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Each database and volume to its file; sizes and sha256 by name."""
    wanted = {
        f"{name}.dump": docker_commands.dump_database(name) for name in backup_folder.DATABASES
    }
    wanted[backup_folder.REDIS_FILE] = docker_commands.redis_shell(docker_commands.SNAPSHOT_SCRIPT)
    wanted |= {
        f"{name}.tar": docker_commands.pack_volume(stack, image, name)
        for name in backup_folder.VOLUMES
    }
    files = {}
    for name, command in wanted.items():
        files[name] = docker_engine.save_output(command, folder / name)
        backup_folder.require_complete_file(folder / name)
        print(f"  {name:<18}{files[name]['size'] / 1e6:10,.1f} MB", flush=True)
    return files


def count_contents(stack: Stack, image: str, log: Path) -> dict[str, Any]:
    """What a restore must find again; `log` is the archive of the log of predictions."""
    found: dict[str, Any] = json.loads(
        run_command(docker_commands.stack_facts(stack, image), stdin=log).splitlines()[-1]
    )
    return {
        **found,
        "online_keys": int(
            run_command(docker_commands.redis_shell(docker_commands.COUNT_KEYS_COMMAND))
        ),
    }


def main() -> int:
    named = sys.argv[1] if len(sys.argv) > 1 else ""
    target = Path(named or time.strftime("backups/%Y-%m-%dT%H%M%SZ", time.gmtime()))
    try:
        with docker_engine.hold_stack_lock():
            manifest = back_up(target)
    except StackError as problem:
        print(f"error: {problem}\nNo backup was made.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: no backup was made.", file=sys.stderr)
        return 130
    contents = manifest["contents"]
    print(f"{target}: {backup_folder.summarise_contents(contents)}.")
    if contents["champion"] != contents["released"]:
        print(f"MLflow's champion is not what is released ({contents['released']}): mlops doctor.")
    print("Not in it: .env with the passwords, and the history of Prometheus and Grafana.")
    print(f"Next: copy it to another machine. It comes back by make restore FROM={target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
