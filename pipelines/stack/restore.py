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
from pipelines.stack.docker_engine import asked

MARKED, MARK = "artefacts", "/artefacts/.restoring"
READY = "http://127.0.0.1:3000/readyz"
Step = tuple[str, Callable[[], object]]


def restore(folder: Path, force: bool) -> dict[str, Any]:
    """Makes the stack what the backup says, and starts it; the manifest. Raises `StackError`."""
    print(f"Checking {folder} ...", flush=True)
    manifest = backup_folder.verified(folder)
    print(f"  of {manifest['made_at']}: {backup_folder.told(manifest['contents'])}", flush=True)
    stack = docker_engine.described()
    asked(["docker", "image", "inspect", "--format", "ok", stack.image, stack.redis])
    docker_engine.require_nothing_else(stack)
    there = set(asked(["docker", "volume", "ls", "--quiet"]).split())
    ours = [stack.volumes[name] for name in ("postgres", "redis", *backup_folder.VOLUMES)]
    taken = [name for name in ours if name in there]
    if taken and not force:
        agree(taken, folder)
    fill(stack, folder, taken, manifest["contents"])
    start(manifest["contents"]["released"])
    return manifest


def agree(taken: list[str], folder: Path) -> None:
    """Raises `StackError` unless the user wants these volumes removed."""
    question = f"The stack has data, which the restore removes: {', '.join(taken)}."
    if not sys.stdin.isatty():
        raise StackError(
            f"{question} Nothing was changed. If that is what you want (make backup copies them): "
            f"make restore FROM={folder} FORCE=1"
        )
    if input(f"{question} Sure? [y/N] ") != "y":
        raise StackError("Nothing was changed.")


def fill(stack: Stack, folder: Path, taken: list[str], contents: dict[str, Any]) -> None:
    """Gives the stack the backup's data in place of its own; only its databases run at the end."""
    done: list[str] = []
    for title, step in steps(stack, folder, taken, contents):
        print(f"{title} ...", flush=True)
        try:
            step()
        except (StackError, KeyboardInterrupt) as error:
            with docker_engine.undisturbed():
                state = close(stack, begun=bool(done))
            raise StackError(
                f"{str(error) or 'Interrupted.'}\nThe restore broke off at: {title}. "
                f"Before it: {', '.join(done) or 'nothing was changed'}. {state} "
                f"The backup is as it was. Once more: make restore FROM={folder} FORCE=1"
            ) from error
        done.append(title[0].lower() + title[1:])


def steps(stack: Stack, folder: Path, taken: list[str], contents: dict[str, Any]) -> list[Step]:
    """In order, from the removal of what is there to the proof that all is back."""
    marked = stack.volumes[MARKED]
    # The one with the mark goes last: what is left of a removal that broke off is marked, then.
    remove = ["docker", "volume", "rm", *sorted(taken, key=lambda name: name == marked)]
    archives = [f"{name}.tar" for name in backup_folder.VOLUMES]
    return [
        ("Ending the stack", lambda: asked(compose("--profile", "*", "down", "--remove-orphans"))),
        ("Marking its data", lambda: asked(mark(stack, "touch")) if marked in taken else None),
        ("Removing them", lambda: asked(remove) if taken else None),
        ("Making empty volumes", lambda: asked(compose("up", "--no-start"))),
        ("Marking the stack as not whole", lambda: asked(mark(stack, "touch"))),
        *((f"Restoring {name}", _filled(stack, folder / name)) for name in archives),
        (f"Restoring {backup_folder.REDIS}", lambda: asked(
            docker_commands.fill_redis(stack), stdin=folder / backup_folder.REDIS)),
        ("Starting the databases", lambda: asked(_up("postgres", "redis"))),
        *((f"Restoring {name}.dump", _loaded(folder, name)) for name in backup_folder.DATABASES),
        ("Taking the mark away", lambda: asked(mark(stack, "rm"))),
        ("Starting MLflow", lambda: asked(_up("mlflow"))),
        ("Counting what is back", lambda: compare(counted(stack), contents)),
    ]  # fmt: skip


def close(stack: Stack, *, begun: bool) -> str:
    """After a failure: stops what runs and marks the stack; the state that it is in, in words."""
    if not begun:
        return "All data are as they were: make up starts the stack again."
    try:
        asked(compose("--profile", "*", "stop"))
        if stack.volumes[MARKED] in asked(["docker", "volume", "ls", "--quiet"]).split():
            asked(mark(stack, "touch"))
    except StackError as problem:
        return f"The stack is not whole and could not be marked so ({problem}): don't start it."
    return "The stack is stopped and not whole; its MLflow refuses to start like that."


def mark(stack: Stack, tool: str) -> list[str]:
    mounts = {stack.volumes[MARKED]: "/artefacts"}
    return container(stack.image, tool, MARK, mounts=mounts, options=("--network=none",))


def counted(stack: Stack) -> dict[str, Any]:
    """The same facts as the backup's, of the volumes as they are now; nothing else runs yet."""
    volume = "predictions"
    read, write = (
        docker_commands.pack(stack, stack.image, volume),
        docker_commands.facts(stack, stack.image),
    )
    found: dict[str, Any] = json.loads(docker_engine.piped(read, write).splitlines()[-1])
    return {
        **found,
        "online_keys": int(asked(docker_commands.in_redis(docker_commands.COUNT_KEYS))),
    }


def compare(found: dict[str, Any], contents: dict[str, Any]) -> None:
    """Raises `StackError` unless everything counted is as it was in the backup."""
    if wrong := [name for name, value in contents.items() if found.get(name) != value]:
        raise StackError(
            "What is back is not what was backed up: "
            + "; ".join(f"{name} {found.get(name)}, not {contents[name]}" for name in wrong)
        )


def start(released: str | None) -> None:
    """All services; and the released version is served, if there is one."""
    print("All data are back. Starting the stack ...", flush=True)
    try:
        asked(_up())
        if released is not None:
            health = ("python", "-IS", "/app/pipelines/stack/healthy.py", READY)
            asked(compose("exec", "-T", "api", *health))
    except (StackError, KeyboardInterrupt) as error:
        raise StackError(
            f"{str(error) or 'Interrupted.'}\nAll data are back and were counted, but the stack "
            "does not run as it should: docker compose ps, make logs; then make up."
        ) from error


def _up(*services: str) -> list[str]:
    return compose("up", "--detach", "--wait", *services)


def _filled(stack: Stack, archive: Path) -> Callable[[], object]:
    return lambda: asked(docker_commands.unpack(stack, archive.stem), stdin=archive)


def _loaded(folder: Path, database: str) -> Callable[[], object]:
    return lambda: asked(docker_commands.load(database), stdin=folder / f"{database}.dump")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make restore")
    parser.add_argument("folder", type=Path, help="FROM=backups/<UTC time>")
    parser.add_argument("--force", action="store_true", help="FORCE=1: the stack's data may go")
    given = parser.parse_args()
    try:
        with docker_engine.alone():
            manifest = restore(given.folder, given.force)
    except StackError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing was changed.", file=sys.stderr)
        return 130
    print(f"Restored, counted and started: {backup_folder.told(manifest['contents'])}.")
    print("Next: docker compose run --rm loop mlops status")
    return 0


if __name__ == "__main__":
    sys.exit(main())
