"""Restore a backup of the stack: `make restore FROM=folder`.

Until all data are restored and counted, a mark in MLflow's volume keeps MLflow, and with it the
worker, from starting (`schema.py`): a partly restored stack must not train.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.stack import backup_folder, docker_commands, docker_engine
from pipelines.stack.backup_folder import StackError
from pipelines.stack.docker_commands import Stack, compose, container
from pipelines.stack.docker_engine import run_command

MARKED_VOLUME, MARK_FILE = "artefacts", "/artefacts/.restoring"
READY_URL = "http://127.0.0.1:3000/readyz"
RestoreStep = tuple[str, Callable[[], object]]


def restore(folder: Path, force: bool) -> dict[str, Any]:
    """Replace the stack's data by the backup and start it; return the manifest.

    Raises `StackError`.
    """
    print(f"Checking {folder} ...", flush=True)
    manifest = backup_folder.read_verified_manifest(folder)
    summary = backup_folder.summarise_contents(manifest["contents"])
    print(f"  made at {manifest['made_at']}: {summary}", flush=True)
    stack = docker_engine.describe_stack()
    run_command(["docker", "image", "inspect", "--format", "ok", stack.image, stack.redis])
    docker_engine.require_no_user_command(stack)
    existing = set(run_command(["docker", "volume", "ls", "--quiet"]).split())
    ours = [stack.volumes[name] for name in ("postgres", "redis", *backup_folder.VOLUMES)]
    taken = [name for name in ours if name in existing]
    if taken and not force:
        confirm_removal(taken, folder)
    restore_data(stack, folder, taken, manifest["contents"])
    start_stack(manifest["contents"]["released"])
    return manifest


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


def restore_data(stack: Stack, folder: Path, taken: list[str], contents: dict[str, Any]) -> None:
    """Replace the stack's data by the backup's; at the end only its databases and MLflow run."""
    done: list[str] = []
    for title, step in restore_steps(stack, folder, taken, contents):
        print(f"{title} ...", flush=True)
        try:
            step()
        except (StackError, KeyboardInterrupt) as error:
            with docker_engine.ignore_interrupts():
                state = stop_and_mark(stack, begun=bool(done))
            raise StackError(
                f"{str(error) or 'Interrupted.'}\nThe restore failed at: {title}. "
                f"Done before: {', '.join(done) or 'nothing'}. {state} "
                f"The backup is unchanged. Try again: make restore FROM={folder} FORCE=1"
            ) from error
        done.append(title[0].lower() + title[1:])


def restore_steps(
    stack: Stack, folder: Path, taken: list[str], contents: dict[str, Any]
) -> list[RestoreStep]:
    """Return the steps in order, from the removal of the data to the comparison of the counts."""
    marked = stack.volumes[MARKED_VOLUME]
    # The marked volume goes last, so that an interrupted removal leaves a marked stack.
    remove = ["docker", "volume", "rm", *sorted(taken, key=lambda name: name == marked)]
    mark, unmark = mark_command(stack, "touch"), mark_command(stack, "rm")
    down = compose("--profile", "*", "down", "--remove-orphans")
    archives = [f"{name}.tar" for name in backup_folder.VOLUMES]
    redis = backup_folder.REDIS_FILE
    return [
        ("Stopping the stack", lambda: run_command(down)),
        ("Marking its data", lambda: run_command(mark) if marked in taken else None),
        ("Removing its data", lambda: run_command(remove) if taken else None),
        ("Creating empty volumes", lambda: run_command(compose("up", "--no-start"))),
        ("Marking the stack as incomplete", lambda: run_command(mark)),
        *((f"Restoring {name}", _unpack(stack, folder / name)) for name in archives),
        (
            f"Restoring {redis}",
            lambda: run_command(docker_commands.fill_redis(stack), stdin=folder / redis),
        ),
        ("Starting the databases", lambda: run_command(_up("postgres", "redis"))),
        *((f"Restoring {name}.dump", _load(folder, name)) for name in backup_folder.DATABASES),
        ("Removing the mark", lambda: run_command(unmark)),
        ("Starting MLflow", lambda: run_command(_up("mlflow"))),
        (
            "Counting the restored data",
            lambda: require_equal_contents(count_restored(stack), contents),
        ),
    ]


def stop_and_mark(stack: Stack, *, begun: bool) -> str:
    """After a failure stop the stack and mark it; return a sentence about its state."""
    if not begun:
        return "The data are unchanged: make up starts the stack again."
    try:
        run_command(compose("--profile", "*", "stop"))
        if (
            stack.volumes[MARKED_VOLUME]
            in run_command(["docker", "volume", "ls", "--quiet"]).split()
        ):
            run_command(mark_command(stack, "touch"))
    except StackError as problem:
        return f"The stack is incomplete and could not be marked ({problem}): don't start it."
    return "The stack is stopped and incomplete, and its MLflow refuses to start."


def mark_command(stack: Stack, tool: str) -> list[str]:
    mounts = {stack.volumes[MARKED_VOLUME]: "/artefacts"}
    return container(stack.image, tool, MARK_FILE, mounts=mounts, options=("--network=none",))


def count_restored(stack: Stack) -> dict[str, Any]:
    """Return the counts of the restored data, as in the manifest."""
    log = docker_commands.pack_volume(stack, stack.image, "predictions")
    count = docker_commands.stack_facts(stack, stack.image)
    facts: dict[str, Any] = json.loads(docker_engine.pipe_command(log, count).splitlines()[-1])
    keys = run_command(docker_commands.redis_shell(docker_commands.COUNT_KEYS_COMMAND))
    return {**facts, "online_keys": int(keys)}


def require_equal_contents(restored: dict[str, Any], contents: dict[str, Any]) -> None:
    """Raise `StackError` unless all restored counts equal those of the backup."""
    if wrong := [name for name, value in contents.items() if restored.get(name) != value]:
        raise StackError(
            "The restored data differ from the backup: "
            + "; ".join(f"{name} {restored.get(name)}, not {contents[name]}" for name in wrong)
        )


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


def _unpack(stack: Stack, archive: Path) -> Callable[[], object]:
    return lambda: run_command(docker_commands.unpack_volume(stack, archive.stem), stdin=archive)


def _load(folder: Path, database: str) -> Callable[[], object]:
    return lambda: run_command(
        docker_commands.load_database(database), stdin=folder / f"{database}.dump"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make restore")
    parser.add_argument("folder", type=Path, help="FROM=backups/<UTC time>")
    parser.add_argument("--force", action="store_true", help="FORCE=1: remove the stack's data")
    arguments = parser.parse_args()
    try:
        with docker_engine.hold_stack_lock():
            manifest = restore(arguments.folder, arguments.force)
    except StackError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Nothing was changed.", file=sys.stderr)
        return 130
    summary = backup_folder.summarise_contents(manifest["contents"])
    print(f"Restored, verified and started: {summary}.")
    print("Next: docker compose run --rm loop mlops status")
    return 0


if __name__ == "__main__":
    sys.exit(main())
