"""Every page of `mlops ui` answers, refuses strangers and asks this machine only."""

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests import browser
from tests.use_case import USE_CASE

Home = Any  # of conftest.py
SERVERS = ("MLFLOW", "PREFECT", "EVIDENTLY", "DOCS")
# Pages of the tools below their first one; {project} is that of Evidently.
FURTHER = {
    "MLFLOW": ["#/models"],
    "PREFECT": ["runs", "v2/runs", "v2/deployments"],
    "EVIDENTLY": ["projects/{project}"],
}
STRANGERS = [
    ("Host", "elsewhere.example"), ("Host", "10.elsewhere.example"),
    ("Origin", "https://elsewhere.example"),
]  # fmt: skip


def test_every_page_answers_refuses_strangers_and_asks_this_machine_only(
    turned: tuple[Home, str], a_free_port: Callable[[], int], tmp_path: Path
) -> None:
    home, _ = turned
    ports = {f"MLOPS_{name}_PORT": str(a_free_port()) for name in SERVERS}
    opener, opened = tmp_path / "opener", tmp_path / "opened"
    opener.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    opener.chmod(0o755)
    environment = {**home.environment(), **ports, "BROWSER": str(opener)}
    with subprocess.Popen(
        [*home.mlops, "ui"], cwd=home.settings.home, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=home.heed_ctrl_c,
    ) as ui:  # fmt: skip
        assert ui.stdout is not None
        output = ""
        while "Ctrl-C stops them" not in output and (line := ui.stdout.readline()):
            output += line
        try:
            announced = re.findall(r"http://\S+", output)
            links = re.findall(r'href="/([^"]+)"', httpx.get(announced[-1], timeout=60).text)
            addresses = [*announced, *(announced[-1] + link for link in links)]
            pages = {page: httpx.get(page, timeout=60, follow_redirects=True) for page in addresses}
            foreign = [
                httpx.get(page, headers={name: value}, timeout=60).status_code
                for page in announced
                for name, value in STRANGERS
                if (name, page) != ("Origin", announced[0])  # MLflow checks it in changes only
            ]
            (project,) = httpx.get(f"{announced[2]}api/projects", timeout=60).json()
            visited = {}
            for page in [*addresses, *further(announced, project["id"])]:
                asked, _ = browser.visit(page, tmp_path)
                visited[page] = {httpx.URL(url).host for url in asked}
            started = home.processes()
        finally:
            ui.send_signal(signal.SIGINT)
            rest, _ = ui.communicate(timeout=60)

    assert ui.returncode == 0, output + rest
    assert "Traceback" not in output + rest
    assert {page.status_code for page in pages.values()} == {200}
    assert all("<html" in page.text.lower() for page in pages.values())
    assert announced == [f"http://127.0.0.1:{port}/" for port in ports.values()]
    below = f"usecases/{USE_CASE.name}/"
    kinds = Counter(link.removeprefix(below).split("/")[0] for link in links)
    assert (kinds["reports"], kinds["training"]) == (2, 2)
    assert kinds["gx"] > 2
    assert set(foreign) == {403}
    assert all(hosts <= {"127.0.0.1", "localhost"} for hosts in visited.values()), visited
    assert opened.read_text().split() == announced[-1:]
    assert len(started) > len(SERVERS)
    assert home.processes() == []


def further(announced: list[str], project: str) -> list[str]:
    return [
        address + path.format(project=project)
        for address, name in zip(announced, SERVERS, strict=True)
        for path in FURTHER.get(name, [])
    ]
