"""The stack's secrets are drawn once, complete, and readable by their owner only."""

import re
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import yaml
from pydantic import SecretStr

from pipelines.stack import env
from serving.http.access import configured_tokens
from settings import Settings

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / ".env.example").read_text()
AT_FIRST_START = ("databases.sh", "databases-healthy.sh")  # a new file changes nothing later
TRUSTED_KEYS = "${MLOPS_KEYS:-./keys}/trusted"  # a folder: its new files are seen at once


def variables(text: str) -> set[str]:
    """Return all variables of a `.env`, also of its commented lines."""
    return set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", text, flags=re.MULTILINE))


def test_compose_and_the_example_name_the_same_variables() -> None:
    used = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert variables(EXAMPLE) == used | {"COMPOSE_PROFILES"}  # read by Compose itself


def test_a_variable_without_a_default_is_a_secret_and_the_other_way_round() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    required = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+):\?", compose))
    assert set(env.EMPTY_VARIABLE.findall(EXAMPLE)) == required
    assert not re.search(r"(?<!\$)\$\{[A-Z0-9_]+\}", compose), "neither a default nor required"


def test_every_secret_is_drawn_and_no_two_are_the_same(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    assert env.write_env_file(tmp_path)
    written = (tmp_path / ".env").read_text()
    assert variables(written) == variables(EXAMPLE)
    drawn = re.findall(r"^[A-Z_]+=([0-9a-f]{48})$", written, flags=re.MULTILINE)
    assert len(set(drawn)) == len(env.EMPTY_VARIABLE.findall(EXAMPLE)) > 0
    assert not env.EMPTY_VARIABLE.search(written)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_an_env_that_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    (tmp_path / ".env").write_text("REDIS_PASSWORD=mine\n")
    assert not env.write_env_file(tmp_path)
    assert (tmp_path / ".env").read_text() == "REDIS_PASSWORD=mine\n"
    assert {path.name for path in tmp_path.iterdir()} == {".env", ".env.example"}


def test_an_older_env_gets_the_secrets_that_it_lacks(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    (tmp_path / ".env").write_text("REDIS_PASSWORD=mine\n")
    lacked = env.add_missing_secrets(tmp_path)
    written = (tmp_path / ".env").read_text()
    assert set(lacked) == set(env.EMPTY_VARIABLE.findall(EXAMPLE)) - {"REDIS_PASSWORD"}
    assert "REDIS_PASSWORD=mine\n" in written
    assert env.add_missing_secrets(tmp_path) == []
    assert (tmp_path / ".env").read_text() == written


def test_the_service_knows_the_tokens_by_their_hashes(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    env.write_env_file(tmp_path)
    written = dict(re.findall(r"^([A-Z_]+)=(.+)$", (tmp_path / ".env").read_text(), re.MULTILINE))
    known = configured_tokens(Settings(home=tmp_path, tokens=SecretStr(written["MLOPS_TOKENS"])))
    for token in known:
        secret = written[f"MLOPS_{token.role.upper()}_TOKEN"]
        assert token.digest == sha256(secret.encode()).hexdigest()
        assert secret not in written["MLOPS_TOKENS"]
    assert {token.role for token in known} == {"predict", "feedback", "admin"}


def test_it_runs_with_the_standard_library_alone(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    command = [sys.executable, "-IS", str(ROOT / "pipelines/stack/env.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / ".env").exists()


def test_a_changed_mounted_file_creates_its_containers_again(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    rules = tmp_path / "monitoring" / "stack" / "rules.yml"
    rules.parent.mkdir(parents=True)
    command = [sys.executable, "-IS", str(ROOT / "pipelines/stack/env.py"), str(tmp_path)]
    found = []
    for content in ("one", "one", "two"):
        rules.write_text(content)
        subprocess.run(command, check=True, capture_output=True)
        found += re.findall("^MLOPS_FILES=(.+)$", (tmp_path / ".env").read_text(), re.MULTILINE)
    assert found[0] == found[1] != found[2]
    assert len(found) == 3
    mounted = tuple(f"./{part}/" for part in env.MOUNTED)
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, service in services.items():
        mounts = [each for each in service.get("volumes", []) if isinstance(each, dict)]
        sources = {each["source"] for each in mounts if each.get("type") == "bind"}
        if any(each.startswith(mounted) for each in sources):
            assert service["labels"] == {"mlops.files": "${MLOPS_FILES:-}"}, name
        else:
            known = {f"./pipelines/stack/{each}" for each in AT_FIRST_START} | {TRUSTED_KEYS}
            assert sources <= known, name
