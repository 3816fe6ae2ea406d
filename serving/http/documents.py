"""Descriptions of the routes: for OpenAPI tools, for BentoML's client, and a page to try them on.

They are built from the schemas that validate the requests. The page is Swagger UI, from the files
in BentoML's package. It loads nothing else.
"""

import base64
import hashlib
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from serving.http.api import Response, Route
from serving.http.schemas import Error

REFUSALS = {
    400: "The body is invalid; `fields` names the faults.",
    401: "The token is missing or wrong.",
    403: "The token lacks the role.",
    404: "Unknown path or prediction.",
    409: "It contradicts the recorded outcome, or the model can't be explained.",
    413: "The body is too large.",
    415: "The content type is not application/json.",
    429: "Too many requests: Retry-After says when to ask again.",
    500: "The service failed.",
    503: "A part of the service is unavailable.",
}

Mode = Literal["validation", "serialization"]
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


def openapi_document(routes: Mapping[str, Route]) -> dict[str, Any]:
    """Return the OpenAPI document of the routes that declare a response."""
    documented = {path: route for path, route in routes.items() if route.response}
    received: Mode = "validation"
    sent: Mode = "serialization"
    types: set[tuple[Any, Mode]] = {
        (one.request, received) for one in documented.values() if one.request
    }
    types |= {(one.response, sent) for one in documented.values() if one.response}
    schemas, definitions = TypeAdapter.json_schemas(
        [(each, mode, TypeAdapter(each)) for each, mode in [*types, (Error, sent)]],
        ref_template="#/components/schemas/{model}",
    )

    def described(text: str, each: type) -> dict[str, Any]:
        return {"description": text, "content": content(each, sent)}

    def content(each: type, mode: Mode) -> dict[str, Any]:
        return {"application/json": {"schema": schemas[each, mode]}}

    paths: dict[str, Any] = {}
    for path, route in documented.items():
        refusals = REFUSALS if route.request else {503: REFUSALS[503]}
        operation: dict[str, Any] = {
            "summary": route.summary,
            "responses": {"200": described("The response.", route.response or dict)}
            | {str(status): described(text, Error) for status, text in refusals.items()},
        }
        if route.request:
            operation["security"] = [{}, {"token": []}]
            operation["requestBody"] = {
                "required": True,
                "content": content(route.request, received),
            }
        paths[path] = {route.method.lower(): operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "MLOps Loop: predictions", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def client_schema(routes: Mapping[str, Route]) -> dict[str, Any]:
    """Return the POST routes as `bentoml.SyncHTTPClient` reads them, each a method."""
    return {
        "routes": [
            {
                "name": path.removeprefix("/"), "route": path, "doc": route.summary,
                "input": route.request.model_json_schema(),
                "output": TypeAdapter[Any](route.response or dict).json_schema(
                    mode="serialization"
                ),
            }
            for path, route in routes.items() if route.request
        ]
    }  # fmt: skip


def page(*_: object) -> Response:
    """Return the page to try the routes on."""
    headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
    return Response(PAGE.encode(), content_type="text/html; charset=utf-8", headers=headers)


def asset(name: str, *_: object) -> Response:
    """Return one of `ASSETS`."""
    file = distribution("bentoml").locate_file(f"{FOLDER}/{name}")
    return Response(Path(str(file)).read_bytes(), content_type=f"{ASSETS[name]}; charset=utf-8")
