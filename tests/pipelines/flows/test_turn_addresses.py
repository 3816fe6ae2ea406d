"""A turn ends with places that its user can open: addresses on the stack, files without it."""

import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from rich.console import Console

from pipelines.flows import turn
from pipelines.flows.journal import Journal
from settings import Settings
from tests.use_case import USE_CASE

ROOT = Path(__file__).parents[3]
REPORT = f"training/x/data/{USE_CASE.name}/evaluation/report.html"
OUTCOME = {"version": "1", "report": f"/app/var/usecases/{USE_CASE.name}/{REPORT}"}
PORTS = {
    "MLOPS_MLFLOW_PORT": "15000", "MLOPS_PREFECT_PORT": "14200", "MLOPS_EVIDENTLY_PORT": "18000",
    "MLOPS_SERVICE_PORT": "13000",
}  # fmt: skip


def compose(variables: dict[str, str]) -> dict[str, Any]:
    """Return the services of the stack with these variables, as Compose fills them in."""
    text = (ROOT / "docker-compose.yml").read_text()
    filled = re.sub(
        r"\$\{(\w+)(?::([-?])([^}]*))?\}",
        lambda found: variables.get(found[1], found[3] if found[2] == "-" else "secret"), text,
    )  # fmt: skip
    services: dict[str, Any] = yaml.safe_load(filled)["services"]
    return services


def end_of_turn(settings: Settings) -> str:
    output = io.StringIO()
    turn.report_next_steps(settings, Journal(Console(file=output, width=200)), OUTCOME)
    return output.getvalue()


@pytest.mark.parametrize("variables", [{}, PORTS], ids=["by default", "with other ports"])
def test_on_the_stack_they_are_published_addresses(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    services = compose(variables)
    for name, value in services["loop"]["environment"].items():
        monkeypatch.setenv(name, str(value or ""))
    output = end_of_turn(Settings(home=tmp_path))
    urls = [urlsplit(url) for url in re.findall(r"http\S+", output)]
    published = {
        int(port.split(":")[1]): name
        for name, service in services.items() for port in service.get("ports", [])
    }  # fmt: skip
    assert [published[url.port or 80] for url in urls] == [
        "mlflow",
        "prefect",
        "evidently",
        "proxy",
    ]
    assert {url.hostname for url in urls} == {"127.0.0.1"}
    assert "/app/var" not in output
    assert "mlops ui" not in output


def test_without_servers_they_are_files(tmp_path: Path) -> None:
    output = end_of_turn(Settings(home=tmp_path))
    assert OUTCOME["report"] in output
    assert "mlops ui" in output


def test_a_server_elsewhere_keeps_its_address(tmp_path: Path) -> None:
    output = end_of_turn(Settings(home=tmp_path, tracking_uri="https://mlflow.example.org/x"))
    assert f"https://mlflow.example.org/#/models/{USE_CASE.name}/versions/1" in output
