"""The stack's pages refuse strangers, and ask this machine only, by Chromium's network log."""

from pathlib import Path

import httpx
import pytest

from tests import browser
from tests.stack.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]
PAGES = [
    ("MLFLOW", "/"), ("MLFLOW", "/#/models"), ("PREFECT", "/"), ("PREFECT", "/v2/runs"),
    ("PREFECT", "/runs"), ("EVIDENTLY", "/"), ("PROMETHEUS", "/graph"), ("PROMETHEUS", "/targets"),
    ("ALERTMANAGER", "/"), ("ALERTMANAGER", "/#/status"),
]  # fmt: skip
GUARDED = ["MLFLOW", "PREFECT", "EVIDENTLY", "PROMETHEUS", "ALERTMANAGER"]


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("host", ["elsewhere.example", "10.elsewhere.example:80"])
def test_a_foreign_host_is_refused(running: Stack, name: str, host: str) -> None:
    answer = httpx.get(running.url(name, "/"), headers={"Host": host}, trust_env=False)
    assert answer.status_code == 403


@pytest.mark.parametrize("name", GUARDED)
def test_a_foreign_page_changes_nothing(running: Stack, name: str) -> None:
    path = {"ALERTMANAGER": "/api/v2/silences"}.get(name, "/api/2.0/mlflow/runs/create")
    for page in ("https://elsewhere.example", "null"):
        url, headers = running.url(name, path), {"Origin": page}
        answer = httpx.post(url, json={}, headers=headers, trust_env=False)
        assert answer.status_code == 403
        assert answer.headers.get("access-control-allow-origin") is None


@pytest.mark.parametrize(("name", "path"), PAGES)
def test_a_page_asks_this_machine_only(
    running: Stack, tmp_path: Path, name: str, path: str
) -> None:
    require_own_requests(running.url(name, path), tmp_path)


def require_own_requests(url: str, folder: Path) -> None:
    asked, document = browser.visit(url, folder, seconds=30)
    assert {httpx.URL(each).host for each in asked} <= {"127.0.0.1", "localhost"}
    assert len(document) > 1000, "the page has content"
