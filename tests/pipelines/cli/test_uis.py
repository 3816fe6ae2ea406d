"""Every page that `mlops ui` announces answers, and Ctrl-C leaves no process behind."""

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

Home = Any  # of conftest.py
SERVERS = ("MLFLOW", "PREFECT", "EVIDENTLY", "DOCS")


def test_every_announced_page_answers_and_ctrl_c_leaves_no_process_behind(
    turned: tuple[Home, str], a_free_port: Callable[[], int], tmp_path: Path
) -> None:
    home, _ = turned
    ports = {f"MLOPS_{name}_PORT": str(a_free_port()) for name in SERVERS}
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    browser.chmod(0o755)
    environment = {**home.environment(), **ports, "BROWSER": str(browser)}
    with subprocess.Popen(
        [*home.mlops, "ui"], cwd=home.settings.home, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=home.heed_ctrl_c,
    ) as ui:  # fmt: skip
        assert ui.stdout is not None
        output = ""
        while "Ctrl-C" not in output and (line := ui.stdout.readline()):
            output += line
        try:
            announced = re.findall(r"http://\S+", output)
            pages = {page: httpx.get(page, timeout=60, follow_redirects=True) for page in announced}
            started = home.processes()
        finally:
            ui.send_signal(signal.SIGINT)
            rest, _ = ui.communicate(timeout=60)

    assert ui.returncode == 0, output + rest
    assert "Traceback" not in output + rest
    assert {f"{page.status_code} {address}" for address, page in pages.items()} == {
        f"200 {address}" for address in announced
    }
    assert all("<html" in page.text.lower() for page in pages.values())
    addresses = [f"http://127.0.0.1:{port}/" for port in ports.values()]
    assert [page for page in announced if page in addresses] == addresses
    own = [page.removeprefix(addresses[-1]) for page in announced if page not in addresses]
    assert [page.split("/")[0] for page in own] == ["gx", *["reports"] * 2, *["training"] * 2]
    assert opened.read_text().split() == addresses[:1]
    assert len(started) > len(SERVERS)
    assert home.processes() == []
