"""The promises of docker-compose.yml for every service."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stack.conftest import ROOT, Stack

pytestmark = pytest.mark.stack
NAMES = sorted(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
# The image takes ownership of its folder, then becomes the user postgres.
STARTS_AS_ROOT = {"postgres"}
ONE_SHOT = {"loop"}


@pytest.fixture(params=NAMES)
def service(request: pytest.FixtureRequest, stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = stack.config()["services"][request.param]
    return {**found, "name": request.param}


def test_it_listens_on_the_loopback_only(service: dict[str, Any]) -> None:
    assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}


def test_its_resources_are_limited(service: dict[str, Any]) -> None:
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert int(limits["memory"]) > 0
    assert limits["pids"] > 0


def test_it_has_no_privileges(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if service["name"] not in STARTS_AS_ROOT:
        assert service["user"].split(":")[0] not in {"", "0", "root"}
        assert "cap_add" not in service


def test_it_restarts_and_its_log_is_limited(service: dict[str, Any]) -> None:
    wanted = "no" if service["name"] in ONE_SHOT else "unless-stopped"
    assert service["restart"] == wanted
    assert service["logging"]["driver"] == "json-file"
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_its_health_is_checked(service: dict[str, Any]) -> None:
    if service["name"] in ONE_SHOT:
        assert service["healthcheck"]["disable"] is True
    else:
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_its_image_is_pinned(service: dict[str, Any]) -> None:
    assert service["image"].partition(":")[2] not in {"", "latest"}


def test_predictions_need_neither_mlflow_nor_prefect(stack: Stack) -> None:
    services = stack.config()["services"]
    needed, rest = set[str](), ["proxy"]
    while rest:
        needed.add(name := rest.pop())
        rest += set(services[name].get("depends_on", {})) - needed
    assert needed == {"proxy", "api", "postgres", "redis"}


def test_only_the_worker_and_loop_get_the_key_that_signs(stack: Stack) -> None:
    config = stack.config()
    services = config["services"]
    having = {name for name, service in services.items() if service.get("secrets")}
    assert having == {"worker", "loop"}
    private = Path(config["secrets"]["signing-key"]["file"])
    assert private.is_file()
    mounts = [
        (name, mount) for name, service in services.items() for mount in service.get("volumes", [])
    ]
    for name, mount in mounts:
        if mount["type"] == "bind":
            assert not private.is_relative_to(mount["source"]), name
        if mount["target"] == "/trusted":
            assert mount["read_only"] is True, name


def test_a_missing_secret_is_refused(stack: Stack, tmp_path: Path) -> None:
    kept = stack.secrets.read_text().splitlines()
    lacking = tmp_path / ".env"
    lacking.write_text("\n".join(each for each in kept if not each.startswith("REDIS_")))
    command = ["docker", "compose", "--env-file", str(lacking), "config", "--quiet"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "REDIS_PASSWORD" in run.stderr
