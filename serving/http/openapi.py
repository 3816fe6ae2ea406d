"""Descriptions of the routes, built from the schemas that validate the requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter

from serving.http.api import Route
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


def openapi_document(routes: Mapping[str, Route]) -> dict[str, Any]:
    """Return the OpenAPI document of the routes that declare a response."""
    documented = {path: route for path, route in routes.items() if route.response}
    types = {each: None for one in documented.values() for each in (one.request, one.response)}
    mode: Literal["validation"] = "validation"
    schemas, definitions = TypeAdapter.json_schemas(
        [(each, mode, TypeAdapter(each)) for each in (*types, Error) if each],
        ref_template="#/components/schemas/{model}",
    )

    def described(text: str, each: type) -> dict[str, Any]:
        return {"description": text, "content": content(each)}

    def content(each: type) -> dict[str, Any]:
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
            operation["requestBody"] = {"required": True, "content": content(route.request)}
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
                "output": TypeAdapter[Any](route.response or dict).json_schema(),
            }
            for path, route in routes.items() if route.request
        ]
    }  # fmt: skip
