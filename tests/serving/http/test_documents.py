"""The page to try the routes on, and the descriptions that clients read."""

import base64
import hashlib
import re
from collections.abc import Iterator

import pytest

from settings import Settings
from tests.serving.in_process import LocalService, send_request, service_parts


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    parts = service_parts(Settings(home=tmp_path_factory.mktemp("home")))
    yield parts
    parts.close()


def test_the_page_loads_only_what_the_service_has_and_its_policy_allows(
    parts: LocalService,
) -> None:
    answer = send_request(parts, "GET", "/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "://" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    [script] = re.findall(r"<script>(.+)</script>", answer.text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}'" in policy
    loaded = re.findall(r'(?:href|src)="(docs/[^"]+)"', answer.text)
    assert len(loaded) == 2
    kinds = [("css", ".swagger-ui"), ("javascript", "/*!")]
    for path, (kind, start) in zip(loaded, kinds, strict=True):
        asset = send_request(parts, "GET", f"/{path}")
        assert asset.headers["content-type"] == f"text/{kind}; charset=utf-8"
        assert asset.text.startswith(start)
    assert send_request(parts, "GET", "/docs/swagger-initializer.js").status_code == 404


def test_the_index_lists_every_route(parts: LocalService) -> None:
    index = send_request(parts, "GET", "/").json()
    for path, text in index.items():
        method = text.split(":")[0]
        assert send_request(parts, method, path).status_code in (200, 415), path
