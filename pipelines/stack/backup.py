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

from pipelines.runtime import interrupts
from pipelines.stack import backup_folder, docker_engine, keys
from pipelines.stack.backup_folder import StackError
from pipelines.stack.docker_engine import Stack, compose, run_command

REQUIRED_SERVICES = {"postgres", "redis", "mlflow"}
IMAGE_LABEL_PREFIX = "org.opencontainers.image."
# Through a file: on a pipe, redis-cli appends its end-of-transfer mark to the data.
SNAPSHOT_SCRIPT = """set -e
export REDISCLI_AUTH="$REDIS_PASSWORD"
trap 'rm -f /data/backup.rdb' EXIT
redis-cli --rdb /data/backup.rdb >&2
cat /data/backup.rdb
"""
# Exit code 1: a file grew meanwhile, such as the prediction log. A cut line does not count.
PACK_SCRIPT = """tar --create --warning=no-file-changed --warning=no-file-removed --directory "$0" .
test $? -lt 2"""


def back_up(target: Path) -> dict[str, Any]:
    """Write a whole backup to `target`, or nothing; return its manifest. Raises `StackError`."""
    stack = docker_engine.describe_stack()
    running = run_command(compose("ps", "--services", "--status", "running")).split()
    if missing := REQUIRED_SERVICES.difference(running):
        raise StackError(f"{', '.join(sorted(missing))} must run for a backup. Run make up.")
    docker_engine.require_no_user_command(stack)
    # The image that runs can differ from the image that this checkout builds.
    identity = run_command(compose("ps", "--quiet", "mlflow"))
    [mlflow] = json.loads(run_command(["docker", "inspect", identity]))
    image, labels = mlflow["Image"], mlflow["Config"]["Labels"]
    draft = backup_folder.make_draft(target)
    try:
        with worker_stopped():
            files = copy_data(stack, image, draft)
            contents = docker_engine.count_contents(stack, image, draft / "predictions.tar")
        manifest = {
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "version": labels.get(f"{IMAGE_LABEL_PREFIX}version", "unknown"),
            "commit": labels.get(f"{IMAGE_LABEL_PREFIX}revision", "unknown"),
            "contents": contents,
            "trusted_keys": keys.trusted_file(stack.keys).read_text(),
            "files": files,
        }
        backup_folder.finish_backup(draft, target, manifest)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # a finished draft is renamed
    return manifest


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
        with interrupts.ignored():
            print("Starting the worker again ...", flush=True)
            # `start` does nothing while an interrupted stop is still in progress.
            run_command(compose("restart", "worker"))


def copy_data(stack: Stack, image: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Copy each database and volume to its file; return sizes and sha256 by file name."""
    dump = compose("exec", "-T", "postgres", "pg_dump", "-U", "postgres", "-Fc")
    commands = {f"{name}.dump": [*dump, name] for name in backup_folder.DATABASES}
    commands[backup_folder.REDIS_FILE] = docker_engine.redis_shell(SNAPSHOT_SCRIPT)
    for name, path in backup_folder.VOLUMES.items():
        mounts = {stack.volumes[name]: f"{path}:ro"}
        pack = docker_engine.container(image, "sh", "-c", PACK_SCRIPT, path, mounts=mounts)
        commands[f"{name}.tar"] = pack
    files = {}
    for name, command in commands.items():
        files[name] = docker_engine.save_output(command, folder / name)
        backup_folder.require_complete_file(folder / name)
        print(f"  {name:<18}{files[name]['size'] / 1e6:10,.1f} MB", flush=True)
    return files


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else ""
    target = Path(folder or time.strftime("backups/%Y-%m-%dT%H%M%SZ", time.gmtime()))
    contents = back_up(target)["contents"]
    print(f"{target}: {backup_folder.summarise_contents(contents)}.")
    if contents["champion"] != contents["released"]:
        print(f"MLflow's champion differs from the release ({contents['released']}): mlops doctor.")
    print("It leaves out .env with the passwords, the key that signs releases (keys/), and the")
    print("data of Prometheus and Grafana.")
    print(f"Next: copy it to another machine. To restore it: make restore FROM={target}")


if __name__ == "__main__":
    outcome = "No backup was written."
    sys.exit(docker_engine.run_script(main, interrupted=outcome, failed=f"\n{outcome}"))
