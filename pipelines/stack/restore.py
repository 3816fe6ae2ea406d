"""Restore a backup of the stack: `make restore FROM=folder`.

Until all data are restored and counted, a mark in MLflow's volume keeps MLflow, and with it the
worker, from starting (`schema.py`): a partly restored stack must not train.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.runtime import interrupts
from pipelines.stack import backup_folder, docker_engine, keys
from pipelines.stack.backup_folder import StackError
from pipelines.stack.docker_engine import Stack, compose, container, run_command

MARKED_VOLUME, MARK_FILE = "artefacts", "/artefacts/.restoring"
READY_URL = "http://127.0.0.1:3000/readyz"
LOAD_OPTIONS = ("--exit-on-error", "--single-transaction", "--no-owner")
# An append-only file starts with a snapshot: https://redis.io, "Multi-part AOF".
FILL_REDIS_SCRIPT = """set -e
mkdir /data/appendonlydir
cd /data/appendonlydir
cat > appendonly.aof.1.base.rdb
redis-check-rdb appendonly.aof.1.base.rdb > /dev/null
echo 'file appendonly.aof.1.base.rdb seq 1 type b' > appendonly.aof.manifest
"""


def restore(folder: Path, force: bool) -> dict[str, Any]:
    """Replace the stack's data by the backup and start it; return the counts of the backup.

    Raises `StackError`.
    """
    print(f"Checking {folder} ...", flush=True)
    manifest = backup_folder.read_verified_manifest(folder)
    contents: dict[str, Any] = manifest["contents"]
    summary = backup_folder.summarise_contents(contents)
    print(f"  made at {manifest['made_at']}: {summary}", flush=True)
    stack = docker_engine.describe_stack()
    run_command(["docker", "image", "inspect", "--format", "ok", stack.image, stack.redis])
    docker_engine.require_no_user_command(stack)
    ours = [stack.volumes[name] for name in ("postgres", "redis", *backup_folder.VOLUMES)]
    existing = docker_engine.existing_volumes()
    taken = [name for name in ours if name in existing]
    if taken and not force:
        confirm_removal(taken, folder)
    keys.create_keys(stack)
    if added := keys.trust_also(stack.keys, manifest.get("trusted_keys", "")):
        print(f"Trusting {added} more keys, which signed the releases of the backup.", flush=True)
    restore_data(stack, folder, taken, contents, signed="trusted_keys" in manifest)
    start_stack(contents["released"])
    return contents


def confirm_removal(taken: list[str], folder: Path) -> None:
    """Raise `StackError` unless the user confirms that these volumes are removed."""
    question = f"The restore removes the stack's data in {', '.join(taken)}."
    if not sys.stdin.isatty():
        raise StackError(
            f"{question} Nothing was changed. Keep a copy with make backup, then confirm: "
            f"make restore FROM={folder} FORCE=1"
        )
    if input(f"{question} Sure? [y/N] ") != "y":
        raise StackError("Nothing was changed.")


def restore_data(
    stack: Stack, folder: Path, taken: list[str], contents: dict[str, Any], *, signed: bool
) -> None:
    """Replace the stack's data by the backup's; at the end only its databases and MLflow run.

    A backup that is not `signed` is from before signatures: its release is verified and signed.
    Raises `StackError` if a step fails, or unless all counts equal those of the backup.
    """
    done: list[str] = []
    title = ""
    try:
        for title, command, source in restore_steps(stack, folder, taken):
            print(f"{title} ...", flush=True)
            run_command(command, stdin=source)
            done.append(title[0].lower() + title[1:])
        if not signed:
            title = "Signing the release of an older version"
            keys.sign_older_release(stack)
        title = "Counting the restored data"
        print(f"{title} ...", flush=True)
        restored = docker_engine.count_contents(stack, stack.image)
        if wrong := [name for name in contents if restored.get(name) != contents[name]]:
            raise StackError(
                "The restored data differ from the backup: "
                + "; ".join(f"{name} {restored.get(name)}, not {contents[name]}" for name in wrong)
            )
    except (StackError, KeyboardInterrupt) as error:
        with interrupts.ignored():
            state = stop_and_mark(stack, begun=bool(done))
        raise StackError(
            f"{str(error) or 'Interrupted.'}\nThe restore failed at: {title}. "
            f"Done before: {', '.join(done) or 'nothing'}. {state} "
            f"The backup is unchanged. Try again: make restore FROM={folder} FORCE=1"
        ) from error


def restore_steps(
    stack: Stack, folder: Path, taken: list[str]
) -> Iterator[tuple[str, list[str], Path | None]]:
    """Yield title, command and stdin of each step, up to the start of MLflow."""
    marked = stack.volumes[MARKED_VOLUME]
    mark = mark_command(stack, "touch")
    yield "Stopping the stack", compose("--profile", "*", "down", "--remove-orphans"), None
    if marked in taken:
        yield "Marking its data", mark, None
    if taken:
        # The marked volume goes last, so that an interrupted removal leaves a marked stack.
        last = sorted(taken, key=lambda name: name == marked)
        yield "Removing its data", ["docker", "volume", "rm", *last], None
    yield "Creating empty volumes", compose("up", "--no-start"), None
    yield "Marking the stack as incomplete", mark, None
    for name, path in backup_folder.VOLUMES.items():
        how = ("tar", "--extract", "--preserve-permissions", "--directory", path, "--file", "-")
        unpack = container(stack.image, *how, mounts={stack.volumes[name]: path})
        yield f"Restoring {name}.tar", unpack, folder / f"{name}.tar"
    mounts = {stack.volumes["redis"]: "/data"}
    options = "--network=none --user=redis --entrypoint=sh"
    fill = container(stack.redis, "-c", FILL_REDIS_SCRIPT, mounts=mounts, options=options)
    yield "Restoring redis.rdb", fill, folder / backup_folder.REDIS_FILE
    yield "Starting the databases", _up("postgres", "redis"), None
    load = compose("exec", "-T", "postgres", "pg_restore", "-U", "postgres", *LOAD_OPTIONS)
    for name in backup_folder.DATABASES:  # the database's user becomes the owner
        loaded = [*load, f"--role={name}", f"--dbname={name}"]
        yield f"Restoring {name}.dump", loaded, folder / f"{name}.dump"
    yield "Removing the mark", mark_command(stack, "rm"), None
    yield "Starting MLflow", _up("mlflow"), None


def stop_and_mark(stack: Stack, *, begun: bool) -> str:
    """After a failure stop the stack and mark it; return a sentence about its state."""
    if not begun:
        return "The data are unchanged: make up starts the stack again."
    try:
        run_command(compose("--profile", "*", "stop"))
        if stack.volumes[MARKED_VOLUME] in docker_engine.existing_volumes():
            run_command(mark_command(stack, "touch"))
    except StackError as problem:
        return f"The stack is incomplete and could not be marked ({problem}): don't start it."
    return "The stack is stopped and incomplete, and its MLflow refuses to start."


def mark_command(stack: Stack, tool: str) -> list[str]:
    mounts = {stack.volumes[MARKED_VOLUME]: "/artefacts"}
    return container(stack.image, tool, MARK_FILE, mounts=mounts)


def start_stack(released: str | None) -> None:
    """Start all services; require that the released version is served, if there is one."""
    print("All data are restored. Starting the stack ...", flush=True)
    try:
        run_command(_up())
        if released is not None:
            health = ("python", "-IS", "/app/pipelines/stack/healthy.py", READY_URL)
            run_command(compose("exec", "-T", "api", *health))
    except (StackError, KeyboardInterrupt) as error:
        raise StackError(
            f"{str(error) or 'Interrupted.'}\nAll data are restored and counted, but the stack "
            "did not start. See docker compose ps and make logs, then run make up."
        ) from error


def _up(*services: str) -> list[str]:
    return compose("up", "--detach", "--wait", *services)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make restore")
    parser.add_argument("folder", type=Path, help="FROM=backups/<UTC time>")
    parser.add_argument("--force", action="store_true", help="FORCE=1: remove the stack's data")
    arguments = parser.parse_args()
    contents = restore(arguments.folder, arguments.force)
    print(f"Restored, verified and started: {backup_folder.summarise_contents(contents)}.")
    print("Next: docker compose run --rm loop mlops status")


if __name__ == "__main__":
    sys.exit(docker_engine.run_script(main, interrupted="Nothing was changed."))
