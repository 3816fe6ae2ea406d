"""What does the service say about itself? Pages to GET, beside BentoML's own."""

from __future__ import annotations

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def _index(_: Request) -> JSONResponse:
    """GET /: in place of BentoML's page, which has the browser load Google's tag manager."""
    return JSONResponse({"predict": "POST /predict", "release": "/release", "schema": "/docs.json"})


async def _release(_: Request) -> JSONResponse:
    """GET /release: what is served, and why it is not what was released, if so."""
    models = bentoml.get_current_service().models
    release = models.current.release if models.current else None
    return JSONResponse(
        {
            "generation": release and release.generation,
            "version": release and release.champion.version,
            "digest": release and release.champion.digest,
            "threshold": release and release.champion.threshold,
            "changed_at": release and release.changed_at.isoformat(),
            "problem": models.problem,
        }
    )


PAGES = Starlette(routes=[Route("/", _index), Route("/release", _release)])
