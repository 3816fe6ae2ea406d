"""The OpenAPI document, built from the schemas that validate the requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

REF = "#/components/schemas/{model}"
PostRoutes = dict[str, tuple[type[BaseModel], type[BaseModel], str]]
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


def openapi_document(
    posts: PostRoutes, gets: dict[str, str], error: type[BaseModel]
) -> dict[str, Any]:
    """Return the document. `posts`: path to request, response, summary; `gets`: path to summary."""
    models = [model for request, response, _ in posts.values() for model in (request, response)]
    modes = [(model, "validation") for model in dict.fromkeys([*models, error])]
    _, schemas = models_json_schema(modes, ref_template=REF)  # type: ignore[arg-type]
    refusals = {str(status): _refusal(text, error) for status, text in REFUSALS.items()}
    paths: dict[str, Any] = {}
    for path, (request, response, summary) in posts.items():
        paths[path] = {
            "post": {
                "summary": summary,
                "security": [{}, {"token": []}],
                "requestBody": {"required": True, "content": _content(request)},
                "responses": {
                    "200": {"description": "The response.", "content": _content(response)},
                    **refusals,
                },
            }
        }
    for path, summary in gets.items():
        paths[path] = {"get": {"summary": summary, "responses": _get_responses(error)}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "MLOps Loop: predictions", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _get_responses(error: type[BaseModel]) -> dict[str, Any]:
    anything: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    return {
        "200": {"description": "The response.", "content": anything},
        "503": _refusal(REFUSALS[503], error),
    }


def _refusal(text: str, error: type[BaseModel]) -> dict[str, Any]:
    return {"description": text, "content": _content(error)}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}}}
