"""The command of docker-compose.yml starts Redis on a log that a power cut has damaged."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from redis import Redis
from redis.exceptions import ConnectionError as NotUp

ROOT = Path(__file__).parents[3]
PASSWORD = "secret"  # noqa: S105
pytestmark = pytest.mark.long


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Redis]:
    """Run the container's command in `folder` instead of /data; kill it at the end."""
    if shutil.which("redis-check-aof") is None:
        pytest.fail("There is no redis-server here: apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    script = compose["services"]["redis"]["command"][2].replace("$$", "$")
    script = script.replace("/data", str(folder)).replace("\ndir ", f"\nport {port}\ndir ")
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "REDIS_PASSWORD": PASSWORD}
    command = ["sh", "-c", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        client = Redis(port=port, password=PASSWORD)
        for _ in range(100):
            with contextlib.suppress(NotUp):
                if client.ping():
                    break
            assert process.poll() is None, "Redis did not start"
            time.sleep(0.05)
        yield client
        client.close()
        process.kill()


def append_zeros(log: Path) -> None:
    with log.open("ab") as file:
        file.write(bytes(4096))


def cut(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-7])


def damage_the_middle(log: Path) -> None:
    content = bytearray(log.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    log.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "keys", "record"),
    [(append_zeros, 201, b"now"), (cut, 201, None), (damage_the_middle, None, None)],
)
def test_redis_starts_on_a_damaged_log_and_the_record_is_that_of_the_rows(
    damage: Callable[[Path], None], keys: int | None, record: bytes | None, tmp_path: Path
) -> None:
    with started(tmp_path) as client:
        client.set("first", 1)
        for number in range(200):
            client.hset(f"row{number}", "value", str(number))
        client.hset("published", "until", "now")
        time.sleep(1.5)  # Redis syncs its log once a second
    [log] = tmp_path.glob("appendonlydir/*.incr.aof")
    damage(log)
    with started(tmp_path) as client:
        assert client.get("first") == b"1"
        assert client.hget("published", "until") == record
        if keys:
            assert client.dbsize() == keys + (record is not None)
        client.set("again", 1)


def test_redis_starts_empty_if_nothing_of_the_log_can_be_used(tmp_path: Path) -> None:
    with started(tmp_path) as client:
        client.set("first", 1)
    [base] = tmp_path.glob("appendonlydir/*.base.rdb")
    base.write_bytes(bytes(len(base.read_bytes())))
    with started(tmp_path) as client:
        assert client.dbsize() == 0
    assert [each.name.split("-")[0] for each in tmp_path.glob("damaged-*")] == ["damaged"]
