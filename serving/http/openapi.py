"""What does the service take and give, in the words of OpenAPI? Made from the very schemas used."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

REF = "#/components/schemas/{model}"
PostRoutes = dict[str, tuple[type[BaseModel], type[BaseModel], str]]
REFUSALS = {
    400: "The body is not valid; `fields` names what is wrong.",
    401: "A token is wanted.",
    403: "The token is not one for this.",
    404: "There is no such thing.",
    413: "The body is too long.",
    409: "It contradicts what stands.",
    415: "The body is not said to be JSON.",
    429: "Too many requests: Retry-After says when to ask again.",
    500: "A fault of the service.",
    503: "A part that the answer needs is away.",
}


def openapi_document(
    posts: PostRoutes, gets: dict[str, str], error: type[BaseModel]
) -> dict[str, Any]:
    """`posts`: path to request, response and what it is for; `gets`: path to what it is for."""
    models = [model for request, response, _ in posts.values() for model in (request, response)]
    modes = [
        (model, mode)
        for model in dict.fromkeys([*models, error])
        for mode in ("validation",)
    ]  # fmt: skip
    _, schemas = models_json_schema(modes, ref_template=REF)  # type: ignore[arg-type]
    refusals = {str(status): _refusal(told, error) for status, told in REFUSALS.items()}
    paths: dict[str, Any] = {}
    for path, (request, response, told) in posts.items():
        paths[path] = {
            "post": {
                "summary": told,
                "security": [{}, {"token": []}],
                "requestBody": {"required": True, "content": _content(request)},
                "responses": {
                    "200": {"description": "The answer.", "content": _content(response)},
                    **refusals,
                },
            }
        }
    for path, told in gets.items():
        paths[path] = {"get": {"summary": told, "responses": _shown(error)}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "MLOps Loop: predictions", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _shown(error: type[BaseModel]) -> dict[str, Any]:
    anything: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    return {
        "200": {"description": "As told.", "content": anything},
        "503": _refusal(REFUSALS[503], error),
    }


def _refusal(told: str, error: type[BaseModel]) -> dict[str, Any]:
    return {"description": told, "content": _content(error)}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}}}
