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
from pipelines.stack.docker_engine import asked

NEEDED = {"postgres", "redis", "mlflow"}
LABEL = "org.opencontainers.image."


def back_up(target: Path) -> dict[str, Any]:
    """Makes `target` or leaves nothing there; the manifest. Raises `StackError`."""
    stack = docker_engine.described()
    running = set(asked(compose("ps", "--services", "--status", "running")).split())
    if missing := NEEDED - running:
        raise StackError(f"{', '.join(sorted(missing))} must run for a backup: make up.")
    docker_engine.require_nothing_else(stack)
    image, labels = running_image()
    draft = backup_folder.draft_of(target)
    try:
        with worker_stopped():
            files = copy(stack, image, draft)
            contents = counted(stack, image, draft / "predictions.tar")
        manifest = {
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "version": labels.get(f"{LABEL}version", "unknown"),
            "commit": labels.get(f"{LABEL}revision", "unknown"),
            "contents": contents,
            "files": files,
        }
        backup_folder.finish(draft, target, manifest)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # by its end it has another name
    return manifest


def running_image() -> tuple[str, dict[str, str]]:
    """What the stack runs, which need not be what this checkout would build; and its labels."""
    identity = asked(compose("ps", "--quiet", "mlflow"))
    [found] = json.loads(asked(["docker", "inspect", identity]))
    return found["Image"], found["Config"]["Labels"]


@contextmanager
def worker_stopped() -> Iterator[None]:
    """The worker runs afterwards, whatever happens; also one that a killed backup left stopped."""
    if not asked(compose("ps", "--all", "--quiet", "worker")):
        yield
        return
    print("Stopping the worker; a flow that runs has its time to end ...", flush=True)
    try:
        asked(compose("stop", "worker"))
        yield
    finally:
        with docker_engine.undisturbed():
            print("Starting the worker again ...", flush=True)
            # Not `start`, which does nothing where a stop that was interrupted is still under way.
            asked(compose("restart", "worker"))


def copy(stack: Stack, image: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Each database and volume to its file; sizes and sha256 by name."""
    wanted = {f"{name}.dump": docker_commands.dump(name) for name in backup_folder.DATABASES}
    wanted[backup_folder.REDIS] = docker_commands.in_redis(docker_commands.SNAPSHOT)
    wanted |= {
        f"{name}.tar": docker_commands.pack(stack, image, name) for name in backup_folder.VOLUMES
    }
    files = {}
    for name, command in wanted.items():
        files[name] = docker_engine.receive(command, folder / name)
        backup_folder.require_whole(folder / name)
        print(f"  {name:<18}{files[name]['size'] / 1e6:10,.1f} MB", flush=True)
    return files


def counted(stack: Stack, image: str, log: Path) -> dict[str, Any]:
    """What a restore must find again; `log` is the archive of the log of predictions."""
    found: dict[str, Any] = json.loads(
        asked(docker_commands.facts(stack, image), stdin=log).splitlines()[-1]
    )
    return {
        **found,
        "online_keys": int(asked(docker_commands.in_redis(docker_commands.COUNT_KEYS))),
    }


def main() -> int:
    named = sys.argv[1] if len(sys.argv) > 1 else ""
    target = Path(named or time.strftime("backups/%Y-%m-%dT%H%M%SZ", time.gmtime()))
    try:
        with docker_engine.alone():
            manifest = back_up(target)
    except StackError as problem:
        print(f"error: {problem}\nNo backup was made.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: no backup was made.", file=sys.stderr)
        return 130
    contents = manifest["contents"]
    print(f"{target}: {backup_folder.told(contents)}.")
    if contents["champion"] != contents["released"]:
        print(f"MLflow's champion is not what is released ({contents['released']}): mlops doctor.")
    print("Not in it: .env with the passwords, and the history of Prometheus and Grafana.")
    print(f"Next: copy it to another machine. It comes back by make restore FROM={target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
