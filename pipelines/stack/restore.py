"""How does a backup come back, whole or visibly not? `make restore FROM=folder`.

Until everything is back and was counted, a mark in MLflow's volume keeps MLflow, and with it the
worker, from starting (`schema.py`): a stack that was restored half-way must not train.
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
    """Makes the stack what the backup says, and starts it; the manifest. Raises `StackError`."""
    print(f"Checking {folder} ...", flush=True)
    manifest = backup_folder.read_verified_manifest(folder)
    print(
        f"  of {manifest['made_at']}: {backup_folder.summarise_contents(manifest['contents'])}",
        flush=True,
    )
    stack = docker_engine.describe_stack()
    run_command(["docker", "image", "inspect", "--format", "ok", stack.image, stack.redis])
    docker_engine.require_no_user_command(stack)
    there = set(run_command(["docker", "volume", "ls", "--quiet"]).split())
    ours = [stack.volumes[name] for name in ("postgres", "redis", *backup_folder.VOLUMES)]
    taken = [name for name in ours if name in there]
    if taken and not force:
        confirm_removal(taken, folder)
    restore_data(stack, folder, taken, manifest["contents"])
    start_stack(manifest["contents"]["released"])
    return manifest


def confirm_removal(taken: list[str], folder: Path) -> None:
    """Raises `StackError` unless the user wants these volumes removed."""
    question = f"The stack has data, which the restore removes: {', '.join(taken)}."
    if not sys.stdin.isatty():
        raise StackError(
            f"{question} Nothing was changed. If that is what you want (make backup copies them): "
            f"make restore FROM={folder} FORCE=1"
        )
    if input(f"{question} Sure? [y/N] ") != "y":
        raise StackError("Nothing was changed.")


def restore_data(stack: Stack, folder: Path, taken: list[str], contents: dict[str, Any]) -> None:
    """Gives the stack the backup's data in place of its own; only its databases run at the end."""
    done: list[str] = []
    for title, step in restore_steps(stack, folder, taken, contents):
        print(f"{title} ...", flush=True)
        try:
            step()
        except (StackError, KeyboardInterrupt) as error:
            with docker_engine.ignore_interrupts():
                state = stop_and_mark(stack, begun=bool(done))
            raise StackError(
                f"{str(error) or 'Interrupted.'}\nThe restore broke off at: {title}. "
                f"Before it: {', '.join(done) or 'nothing was changed'}. {state} "
                f"The backup is as it was. Once more: make restore FROM={folder} FORCE=1"
            ) from error
        done.append(title[0].lower() + title[1:])


def restore_steps(
    stack: Stack, folder: Path, taken: list[str], contents: dict[str, Any]
) -> list[RestoreStep]:
    """In order, from the removal of what is there to the proof that all is back."""
    marked = stack.volumes[MARKED_VOLUME]
    # The one with the mark goes last: what is left of a removal that broke off is marked, then.
    remove = ["docker", "volume", "rm", *sorted(taken, key=lambda name: name == marked)]
    archives = [f"{name}.tar" for name in backup_folder.VOLUMES]
    return [
        (
            "Ending the stack",
            lambda: run_command(compose("--profile", "*", "down", "--remove-orphans")),
        ),
        (
            "Marking its data",
            lambda: run_command(mark_command(stack, "touch")) if marked in taken else None,
        ),
        ("Removing them", lambda: run_command(remove) if taken else None),
        ("Making empty volumes", lambda: run_command(compose("up", "--no-start"))),
        ("Marking the stack as not whole", lambda: run_command(mark_command(stack, "touch"))),
        *((f"Restoring {name}", _filled(stack, folder / name)) for name in archives),
        (
            f"Restoring {backup_folder.REDIS_FILE}",
            lambda: run_command(
                docker_commands.fill_redis(stack), stdin=folder / backup_folder.REDIS_FILE
            ),
        ),
        ("Starting the databases", lambda: run_command(_up("postgres", "redis"))),
        *((f"Restoring {name}.dump", _loaded(folder, name)) for name in backup_folder.DATABASES),
        ("Taking the mark away", lambda: run_command(mark_command(stack, "rm"))),
        ("Starting MLflow", lambda: run_command(_up("mlflow"))),
        ("Counting what is back", lambda: require_equal_contents(count_restored(stack), contents)),
    ]


def stop_and_mark(stack: Stack, *, begun: bool) -> str:
    """After a failure: stops what runs and marks the stack; the state that it is in, in words."""
    if not begun:
        return "All data are as they were: make up starts the stack again."
    try:
        run_command(compose("--profile", "*", "stop"))
        if (
            stack.volumes[MARKED_VOLUME]
            in run_command(["docker", "volume", "ls", "--quiet"]).split()
        ):
            run_command(mark_command(stack, "touch"))
    except StackError as problem:
        return f"The stack is not whole and could not be marked so ({problem}): don't start it."
    return "The stack is stopped and not whole; its MLflow refuses to start like that."


def mark_command(stack: Stack, tool: str) -> list[str]:
    mounts = {stack.volumes[MARKED_VOLUME]: "/artefacts"}
    return container(stack.image, tool, MARK_FILE, mounts=mounts, options=("--network=none",))


def count_restored(stack: Stack) -> dict[str, Any]:
    """The same facts as the backup's, of the volumes as they are now; nothing else runs yet."""
    volume = "predictions"
    read, write = (
        docker_commands.pack_volume(stack, stack.image, volume),
        docker_commands.stack_facts(stack, stack.image),
    )
    found: dict[str, Any] = json.loads(docker_engine.pipe_command(read, write).splitlines()[-1])
    return {
        **found,
        "online_keys": int(
            run_command(docker_commands.redis_shell(docker_commands.COUNT_KEYS_COMMAND))
        ),
    }


def require_equal_contents(found: dict[str, Any], contents: dict[str, Any]) -> None:
    """Raises `StackError` unless everything counted is as it was in the backup."""
    if wrong := [name for name, value in contents.items() if found.get(name) != value]:
        raise StackError(
            "What is back is not what was backed up: "
            + "; ".join(f"{name} {found.get(name)}, not {contents[name]}" for name in wrong)
        )


def start_stack(released: str | None) -> None:
    """All services; and the released version is served, if there is one."""
    print("All data are back. Starting the stack ...", flush=True)
    try:
        run_command(_up())
        if released is not None:
            health = ("python", "-IS", "/app/pipelines/stack/healthy.py", READY_URL)
            run_command(compose("exec", "-T", "api", *health))
    except (StackError, KeyboardInterrupt) as error:
        raise StackError(
            f"{str(error) or 'Interrupted.'}\nAll data are back and were counted, but the stack "
            "does not run as it should: docker compose ps, make logs; then make up."
        ) from error


def _up(*services: str) -> list[str]:
    return compose("up", "--detach", "--wait", *services)


def _filled(stack: Stack, archive: Path) -> Callable[[], object]:
    return lambda: run_command(docker_commands.unpack_volume(stack, archive.stem), stdin=archive)


def _loaded(folder: Path, database: str) -> Callable[[], object]:
    return lambda: run_command(
        docker_commands.load_database(database), stdin=folder / f"{database}.dump"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make restore")
    parser.add_argument("folder", type=Path, help="FROM=backups/<UTC time>")
    parser.add_argument("--force", action="store_true", help="FORCE=1: the stack's data may go")
    given = parser.parse_args()
    try:
        with docker_engine.hold_stack_lock():
            manifest = restore(given.folder, given.force)
    except StackError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing was changed.", file=sys.stderr)
        return 130
    print(
        f"Restored, counted and started: {backup_folder.summarise_contents(manifest['contents'])}."
    )
    print("Next: docker compose run --rm loop mlops status")
    return 0


if __name__ == "__main__":
    sys.exit(main())
