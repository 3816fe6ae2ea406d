"""What does the service say about itself? Pages to GET, beside BentoML's own."""

from __future__ import annotations

from typing import Any

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from serving.models import Serving


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
            "frozen": release and release.frozen,
            "challenger": _challenger(models.current),
            "problem": models.problem,
        }
    )


def _challenger(serving: Serving | None) -> dict[str, Any] | None:
    challenger = serving and serving.release.challenger
    if not serving or not challenger:
        return None
    return {
        "version": challenger.model.version, "digest": challenger.model.digest,
        "stage": challenger.stage, "percent": challenger.percent, "name": challenger.name,
        "since": challenger.since.isoformat(), "loaded": serving.challenger is not None,
    }  # fmt: skip


PAGES = Starlette(routes=[Route("/", _index), Route("/release", _release)])
