"""Prometheus and Alertmanager check their configuration and test every rule."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.stack
STACK = Path(__file__).parents[2] / "monitoring" / "stack"


def tool(image: str, name: str, *command: str, folder: Path = STACK) -> str:
    files = [file for file in folder.iterdir() if file.suffix == ".yml"]
    mounts = [each for file in files for each in ("-v", f"{file}:/stack/{file.name}:ro")]
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", *mounts, "--workdir", "/stack",
         "--entrypoint", name, image, *command],
        text=True, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout  # stderr may hold warnings


def promtool(*command: str, folder: Path = STACK) -> str:
    return tool("prom/prometheus:v2.53.3", "promtool", *command, folder=folder)


def amtool(*command: str) -> str:
    return tool("prom/alertmanager:v0.28.1", "amtool", *command)


def test_prometheus_takes_its_configuration() -> None:
    assert "1 rule files found" in promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("check", "rules", "rules.yml")


def test_every_rule_fires_and_clears() -> None:
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def test_the_rules_are_tested_by_their_words_and_limits(tmp_path: Path) -> None:
    """The rules' own test detects each of three changes."""
    for name in ("rules.yml", "rules_test.yml"):
        (tmp_path / name).write_text((STACK / name).read_text())
    rules = (STACK / "rules.yml").read_text()
    for old, new in (
        ("mlops_up == 0", "mlops_up == 2"),
        ("!= on () group_left ()", "== on () group_left ()"),
        ("{{ $labels.feed }} are missing", "{{ $labels.instance }} are missing"),
    ):
        assert rules.count(old) == 1
        (tmp_path / "rules.yml").write_text(rules.replace(old, new))
        with pytest.raises(AssertionError, match="FAILED"):
            promtool("test", "rules", "rules_test.yml", folder=tmp_path)


def test_alertmanager_takes_its_configuration_and_routes_by_severity() -> None:
    assert "SUCCESS" in amtool("check-config", "alertmanager.yml")
    for severity in ("page", "ticket"):
        route = ("config", "routes", "test", "--config.file=alertmanager.yml")
        output = amtool(*route, f"severity={severity}", "alertname=PartDown")
        assert output.splitlines()[-1].strip() == severity
