"""The server of our own pages: an index of them, and nothing else of `var/`."""

import html
import http.client
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import great_expectations as gx
import httpx
import pandas as pd
import pytest

from pipelines.ingestion import expectation_suites
from pipelines.runtime.page_guard import guarded_server_command
from settings import Settings
from tests import browser
from tests.use_case import USE_CASE

PAGE = "<!doctype html><title>a page</title>"
STATE = f"usecases/{USE_CASE.name}"
PAGES = [
    f"{STATE}/{name}" for name in (
        "reports/monitoring-2013-04-15.html", "reports/drift-2013-04-15.html",
        "reports/prove.html", "reports/year.html",
        f"training/20130401T0000-ab/data/{USE_CASE.name}/evaluation/report.html",
    )
]  # fmt: skip
PRIVATE = [
    "mlflow/mlflow.db",
    *(f"{STATE}/{name}" for name in (
        "log/predictions/segment.jsonl", "release/release.json", "children.json",
        "reports/note.txt", "reports/other.html", "training/20130401T0000-ab/outcome.json",
        f"training/20130401T0000-ab/data/{USE_CASE.name}/other/report.html",
        "gx/gx/great_expectations.yml",
    )),
]  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    for name in (*PAGES, *PRIVATE):
        file = settings.var / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PAGE)
    (settings.state / "reports" / "monitoring-link.html").symlink_to("../release/release.json")
    rows = pd.DataFrame({"n": [1, 2, -1]})
    rule = gx.expectations.ExpectColumnValuesToBeBetween(
        column="n", min_value=0, meta={"rule": "n is no debt"}
    )
    _, result = expectation_suites.run_suite([rule], rows, "numbers_rows")
    expectation_suites.write_data_docs([result], settings.state / "gx")
    return settings


@pytest.fixture(scope="module")
def address(settings: Settings, a_free_port: Callable[[], int]) -> Iterator[str]:
    port = a_free_port()
    command = guarded_server_command("pipelines.operations.page_server:pages_app", port)
    environment = {
        "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin",
        "MLOPS_HOME": str(settings.home),
    }  # fmt: skip
    with subprocess.Popen(command, env=environment) as server:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        server.terminate()


def linked(address: str) -> list[str]:
    return re.findall(r'href="/([^"]+)"', httpx.get(f"{address}/").text)


def test_the_index_lists_every_page_and_says_what_it_is(address: str, settings: Settings) -> None:
    index = httpx.get(f"{address}/")
    assert index.status_code == 200
    (docs,) = [link for link in linked(address) if "/gx/" in link]
    assert docs.endswith("/numbers_rows.html")
    assert sorted(linked(address)) == sorted([*PAGES, docs])
    for link in linked(address):
        page = httpx.get(f"{address}/{link}")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for text in ("gates' verdicts", "decision to retrain", str(settings.mlflow_port)):
        assert text in html.unescape(index.text)


def test_nothing_else_is_served(address: str) -> None:
    paths = [
        *PRIVATE, f"{STATE}/reports/monitoring-link.html", f"{STATE}/reports/", f"{STATE}/gx/",
        f"{STATE}/reports/../release/release.json", f"{STATE}/reports/%2e%2e/release/release.json",
        f"{STATE}/reports/..%2frelease/release.json", STATE, "/etc/passwd",
        "%2fetc/passwd", "../data",
    ]  # fmt: skip
    found = {}
    for path in paths:
        # Not httpx, which resolves dots in a path.
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
        connection.request("GET", f"/{path}")
        found[path] = connection.getresponse().status
        connection.close()
    assert found == dict.fromkeys(paths, 404)


def test_a_page_that_is_written_later_appears(address: str, settings: Settings) -> None:
    later = settings.state / "reports" / "monitoring-2013-04-16.html"
    later.write_text(PAGE)
    assert linked(address)[0] == f"{STATE}/reports/monitoring-2013-04-16.html"
    assert httpx.get(f"{address}/{STATE}/reports/{later.name}").text == PAGE
    later.unlink()


def test_a_foreign_host_gets_no_page(address: str) -> None:
    for path in ("/", f"/{PAGES[0]}"):
        answer = httpx.get(f"{address}{path}", headers={"Host": "elsewhere.example"})
        assert answer.status_code == 403


def test_the_data_docs_ask_no_other_machine_also_as_files(
    address: str, settings: Settings, tmp_path: Path
) -> None:
    (docs,) = [link for link in linked(address) if "/gx/" in link]
    for url in (f"{address}/{docs}", (settings.var / docs).as_uri()):
        asked, document = browser.visit(url, tmp_path)
        assert {httpx.URL(each).host for each in asked} <= {"", "127.0.0.1"}
        assert "fa-times" in document, "the rule that failed is marked"
        assert "must be greater than or equal to" in document
