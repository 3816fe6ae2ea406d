"""Which commands copy the stack's data out of its containers and back? `docker_engine.py` runs
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.stack.backup_folder import VOLUMES

# By way of a file: on a pipe, redis-cli leaves the mark of the end of a transfer behind the data.
SNAPSHOT_SCRIPT = """set -e
export REDISCLI_AUTH="$REDIS_PASSWORD"
trap 'rm -f /data/backup.rdb' EXIT
redis-cli --rdb /data/backup.rdb >&2
cat /data/backup.rdb
"""
COUNT_KEYS_COMMAND = 'REDISCLI_AUTH="$REDIS_PASSWORD" exec redis-cli dbsize'
# A snapshot is what an append-only file begins with: https://redis.io, "Multi-part AOF".
FILL_REDIS_SCRIPT = """set -e
mkdir /data/appendonlydir
cd /data/appendonlydir
cat > appendonly.aof.1.base.rdb
redis-check-rdb appendonly.aof.1.base.rdb > /dev/null
echo 'file appendonly.aof.1.base.rdb seq 1 type b' > appendonly.aof.manifest
"""
# 1 means that a file grew meanwhile, as the log of predictions does: a line that is cut counts not.
PACK_SCRIPT = """tar --create --warning=no-file-changed --warning=no-file-removed --directory "$0" .
test $? -lt 2"""


@dataclass(frozen=True)
class Stack:
    """What Compose makes of docker-compose.yml and .env."""

    project: str
    volumes: dict[str, str]  # what the engine calls them
    network: str
    image: str
    redis: str  # its image

    @classmethod
    def of(cls, config: dict[str, Any]) -> Stack:
        """From what `docker compose config --format json` says."""
        volumes = {name: config["volumes"][name]["name"] for name in config["volumes"]}
        services = config["services"]
        return cls(
            config["name"], volumes, config["networks"]["default"]["name"],
            services["api"]["image"], services["redis"]["image"],
        )  # fmt: skip


def compose(*command: str) -> list[str]:
    return ["docker", "compose", *command]


def container(*command: str, mounts: dict[str, str], options: tuple[str, ...] = ()) -> list[str]:
    """A container for one command; unlike `compose run`, it keeps no copy of what it says."""
    volumes = [f"--volume={name}:{path}" for name, path in mounts.items()]
    hardened = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    started = ["docker", "run", "--rm", "--init", "--pull=never", "--log-driver=none", *hardened]
    return [*started, *volumes, *options, *command]


def dump_database(database: str) -> list[str]:
    return compose("exec", "-T", "postgres", "pg_dump", "-U", "postgres", "-Fc", database)


def load_database(database: str) -> list[str]:
    """Into a database that the init script has made: all of it or nothing, owned by its user."""
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
    """`pipelines.stack.facts` of the image, which knows its own data; takes the log as a tar."""
    options = (
        "--interactive", f"--network={stack.network}",
        "--env=MLOPS_TRACKING_URI=http://mlflow:5000",
    )  # fmt: skip
    command = ("python", "-m", "pipelines.stack.facts")
    mounts = {stack.volumes["state"]: "/state:ro"}
    return container(image, *command, mounts=mounts, options=options)
