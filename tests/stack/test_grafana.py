"""Grafana's page asks this machine only, by Chromium's network log."""

from pathlib import Path

import pytest

from tests.stack.conftest import Stack
from tests.stack.test_pages import require_own_requests

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def test_the_page_asks_this_machine_only(running: Stack, tmp_path: Path) -> None:
    running.compose("--profile", "grafana", "up", "--detach", "--wait", "grafana")
    require_own_requests(running.url("GRAFANA", "/login"), tmp_path)
