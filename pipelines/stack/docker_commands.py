"""The commands that copy the stack's data out of its containers and back.

The functions return commands; `docker_engine.py` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.stack.backup_folder import VOLUMES

# Through a file: on a pipe, redis-cli appends its end-of-transfer mark to the data.
SNAPSHOT_SCRIPT = """set -e
export REDISCLI_AUTH="$REDIS_PASSWORD"
trap 'rm -f /data/backup.rdb' EXIT
redis-cli --rdb /data/backup.rdb >&2
cat /data/backup.rdb
"""
COUNT_KEYS_COMMAND = 'REDISCLI_AUTH="$REDIS_PASSWORD" exec redis-cli dbsize'
# An append-only file starts with a snapshot: https://redis.io, "Multi-part AOF".
FILL_REDIS_SCRIPT = """set -e
mkdir /data/appendonlydir
cd /data/appendonlydir
cat > appendonly.aof.1.base.rdb
redis-check-rdb appendonly.aof.1.base.rdb > /dev/null
echo 'file appendonly.aof.1.base.rdb seq 1 type b' > appendonly.aof.manifest
"""
# Exit code 1: a file grew meanwhile, such as the prediction log. A cut line does not count.
PACK_SCRIPT = """tar --create --warning=no-file-changed --warning=no-file-removed --directory "$0" .
test $? -lt 2"""


@dataclass(frozen=True)
class Stack:
    """The names that Compose derives from docker-compose.yml and .env."""

    project: str
    volumes: dict[str, str]  # the engine's names by ours
    network: str
    image: str
    redis: str  # image of Redis

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Stack:
        """Read the output of `docker compose config --format json`."""
        volumes = {name: config["volumes"][name]["name"] for name in config["volumes"]}
        services = config["services"]
        return cls(
            config["name"], volumes, config["networks"]["default"]["name"],
            services["api"]["image"], services["redis"]["image"],
        )  # fmt: skip


def compose(*command: str) -> list[str]:
    return ["docker", "compose", *command]


def container(*command: str, mounts: dict[str, str], options: tuple[str, ...] = ()) -> list[str]:
    """Return a run of a command in a hardened container; unlike `compose run`, it keeps no log."""
    volumes = [f"--volume={name}:{path}" for name, path in mounts.items()]
    hardened = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    run = ["docker", "run", "--rm", "--init", "--pull=never", "--log-driver=none", *hardened]
    return [*run, *volumes, *options, *command]


def dump_database(database: str) -> list[str]:
    return compose("exec", "-T", "postgres", "pg_dump", "-U", "postgres", "-Fc", database)


def load_database(database: str) -> list[str]:
    """Return the command that loads a dump into an empty database, in one transaction.

    The database's user becomes the owner.
    """
    how = ["--exit-on-error", "--single-transaction", "--no-owner", f"--role={database}"]
    return compose(
        "exec", "-T", "postgres", "pg_restore", "-U", "postgres", *how, f"--dbname={database}"
    )


def redis_shell(script: str) -> list[str]:
    return compose("exec", "-T", "redis", "sh", "-c", script)


def pack_volume(stack: Stack, image: str, volume: str) -> list[str]:
    path = VOLUMES[volume]
    mounts = {stack.volumes[volume]: f"{path}:ro"}
    return container(
        image, "sh", "-c", PACK_SCRIPT, path, mounts=mounts, options=("--network=none",)
    )


def unpack_volume(stack: Stack, volume: str) -> list[str]:
    path = VOLUMES[volume]
    how = ("tar", "--extract", "--preserve-permissions", "--directory", path, "--file", "-")
    options = ("--interactive", "--network=none")
    return container(stack.image, *how, mounts={stack.volumes[volume]: path}, options=options)


def fill_redis(stack: Stack) -> list[str]:
    options = ("--interactive", "--network=none", "--user=redis", "--entrypoint=sh")
    mounts = {stack.volumes["redis"]: "/data"}
    return container(stack.redis, "-c", FILL_REDIS_SCRIPT, mounts=mounts, options=options)


def stack_facts(stack: Stack, image: str) -> list[str]:
    """Return the command that runs `pipelines.stack.facts` of the image, whose code fits its data.

    It reads the prediction log as a tar from stdin.
    """
    options = (
        "--interactive", f"--network={stack.network}",
        "--env=MLOPS_TRACKING_URI=http://mlflow:5000",
    )  # fmt: skip
    command = ("python", "-m", "pipelines.stack.facts")
    mounts = {stack.volumes["state"]: "/state:ro"}
    return container(image, *command, mounts=mounts, options=options)
