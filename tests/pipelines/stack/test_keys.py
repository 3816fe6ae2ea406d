"""The stack's keys are created and rotated on the host, and only two services can sign."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.stack import keys
from pipelines.stack.backup_folder import StackError
from pipelines.stack.docker_engine import Stack
from serving.release import signatures
from serving.release.keys import new_key_pair, read_trusted_keys, signing_key_id
from settings import Settings

ROOT = Path(__file__).parents[3]


def new_pair() -> str:
    """Return what the image prints."""
    return "".join(pem.decode() for pem in new_key_pair())


def stack(folder: Path) -> Stack:
    return Stack("test", {}, "network", "image", "redis", folder)


def container(folder: Path) -> Settings:
    """Return the settings of a container that has both files."""
    return Settings(
        home=folder / "home", signing_key=keys.signing_file(folder),
        trusted_keys=keys.trusted_file(folder),
    )  # fmt: skip


def test_the_newest_pair_signs_and_earlier_signatures_count(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keys.write_pair(folder, new_pair())
    settings = container(folder)
    first, signed = signing_key_id(settings), signatures.sign(settings, "entry", b"text")
    keys.write_pair(folder, new_pair())
    assert signing_key_id(settings) != first
    assert list(read_trusted_keys(settings)) == [first, signing_key_id(settings)]
    trusted = read_trusted_keys(settings)
    assert signatures.find_fault(trusted, "entry", b"text", signed) is None
    again = signatures.sign(settings, "entry", b"text")
    assert signatures.find_fault(trusted, "entry", b"text", again) is None


def test_other_users_of_the_host_reach_no_key_and_the_containers_user_does(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o755)
    before = os.umask(0o077)  # that of the scripts
    try:
        keys.write_pair(folder, new_pair())
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert modes == {
        folder: 0o700, keys.signing_file(folder): 0o644, folder / "trusted": 0o755,
        keys.trusted_file(folder): 0o644,
    }  # fmt: skip


def test_keys_are_created_once_and_a_lost_one_is_not_replaced_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "draw_pair", lambda stack: new_pair())  # needs Docker
    folder = tmp_path / "keys"
    assert keys.create_keys(stack(folder))
    before = keys.signing_file(folder).read_bytes()
    assert not keys.create_keys(stack(folder))
    assert keys.signing_file(folder).read_bytes() == before
    for file in (keys.signing_file(folder), keys.trusted_file(folder)):
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(StackError, match=f"{file.name} is missing"):
            keys.create_keys(stack(folder))
        file.write_bytes(content)


def test_a_restore_trusts_the_keys_of_the_backup_too(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    keys.write_pair(old, new_pair())
    signed = signatures.sign(container(old), "release", b"text")
    keys.write_pair(new, new_pair())
    of_backup = keys.trusted_file(old).read_text()
    assert [keys.trust_also(new, of_backup) for _ in range(2)] == [1, 0]
    trusted = read_trusted_keys(container(new))
    assert signatures.find_fault(trusted, "release", b"text", signed) is None
    assert signing_key_id(container(new)) == list(trusted)[-1]
    assert keys.trust_also(new, "") == 0  # a backup from before signatures


SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]
READERS = {"api", "api-staging", "worker", "loop", "watch"}


def test_only_the_worker_and_loop_sign() -> None:
    assert {name for name, each in SERVICES.items() if "secrets" in each} == {"worker", "loop"}
    for name, service in SERVICES.items():
        environment = service.get("environment", {})
        assert ("MLOPS_SIGNING_KEY" in environment) == (name in {"worker", "loop"})
        if name not in {"worker", "loop"}:
            assert "signing" not in str(service), name


def test_a_service_that_follows_or_verifies_the_release_reads_the_trusted_keys() -> None:
    for name, service in SERVICES.items():
        mounts = [each for each in service.get("volumes", []) if "trusted" in str(each)]
        assert bool(mounts) == (name in READERS)
        assert ("MLOPS_TRUSTED_KEYS" in service.get("environment", {})) == (name in READERS)
        for mount in mounts:
            assert mount["read_only"] is True
            assert mount["source"].endswith("/trusted"), "the folder of the private key"
