"""The page at /docs: Swagger UI, from the files in BentoML's package. It loads nothing else."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import distribution
from pathlib import Path

from serving.http.api import Response

ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
FOLDER = "bentoml/_internal/server/static_content"
# Without `validatorUrl` the page would send its address to swagger.io.
SCRIPT = 'SwaggerUIBundle({url: "docs.json", dom_id: "#swagger-ui", validatorUrl: null});'
SCRIPT_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; script-src 'self' 'sha256-{SCRIPT_DIGEST}'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>The routes of the service</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>{SCRIPT}</script>
</html>
"""


def page() -> Response:
    """Return the page."""
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(PAGE.encode(), content_type="text/html; charset=utf-8", headers=headers)


def asset(name: str, *_: object) -> Response:
    """Return one of `ASSETS`."""
    file = distribution("bentoml").locate_file(f"{FOLDER}/{name}")
    return Response(Path(str(file)).read_bytes(), content_type=f"{ASSETS[name]}; charset=utf-8")
