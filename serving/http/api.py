"""The service's ASGI application: routes every request, and turns errors into responses.

It runs as an ASGI middleware before BentoML's own routes. So every response has one error format,
no requested path becomes a metric label, and the hot path is one call. BentoML's own endpoints
(Starlette's routing, a context, serialisers) take longer for the same response (docs/serving.md).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from serving.errors import Refusal, invalid_request, part_unavailable
from serving.http import asgi
from serving.http.access import AccessControl, Role
from serving.http.asgi import DisconnectedError, Receive, Request, Response, Send
from serving.metrics import Metrics
from settings import LoopError

logger = logging.getLogger("serving")


@dataclass(frozen=True)
class Route:
    """A handler, and the conditions under which it is called."""

    method: str
    handle: Callable[[Request], Response]
    role: Role | None  # that a token needs; None: open to anyone
    limit: int = 0  # bytes of the body
    heavy: bool = False  # takes long, so it runs in a thread, one at a time


class Api:
    """The ASGI application. Beyond `max_under_way` requests at once, it answers 429."""

    def __init__(
        self, routes: Mapping[str, Route], access: AccessControl, metrics: Metrics,
        max_under_way: int,
    ) -> None:  # fmt: skip
        self._routes, self._access, self._metrics = routes, access, metrics
        self._max_under_way = max_under_way
        self._under_way = 0
        self._heavy = asyncio.Semaphore(1)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = dict(scope["headers"])
        route = self._routes.get(scope["path"])
        label = scope["path"] if route else "other"
        request_id = asgi.choose_request_id(headers)
        self._under_way += 1
        self._metrics.under_way.set(self._under_way)
        try:
            response = await self._respond(route, scope, headers, request_id, receive)
        except DisconnectedError:
            return
        except Refusal as refusal:
            response = _refuse(refusal, request_id, label)
        except LoopError as error:
            response = _refuse(part_unavailable("unavailable", str(error)), request_id, label)
        except Exception:
            # An unforeseen error: log the traceback, answer 500 and count it.
            fields = {"request_id": request_id, "path": label, "status": 500}
            logger.exception("request failed", extra=fields)
            detail = "The service failed. Its log has the details under this request id."
            response = Response(Refusal(500, "internal error", detail).body(request_id), 500)
        finally:
            self._under_way -= 1
            self._metrics.under_way.set(self._under_way)
        # Counted before it is sent: a client that has its response finds it in the metrics.
        self._metrics.count_request(label, response.status, began)
        await asgi.send_response(response, request_id, send)

    async def _respond(
        self, route: Route | None, scope: Any, headers: dict[bytes, bytes], request_id: str,
        receive: Receive,
    ) -> Response:  # fmt: skip
        if route is None:
            raise Refusal(404, "unknown path", "GET / lists the paths.")
        method = scope["method"]
        if method != route.method and not (method == "HEAD" and route.method == "GET"):
            raise Refusal(
                405, "wrong method", f"This path takes {route.method}.",
                headers={"Allow": route.method},
            )  # fmt: skip
        client = self._access.admit(route.role, headers, scope.get("client"))
        if route.method == "GET":
            return route.handle(Request(request_id, b"", client, headers))
        if self._under_way > self._max_under_way:
            raise self._overloaded()
        _require_json(headers)
        content = await asgi.read_body(headers, receive, route.limit)
        # Count all requests that have arrived before computing one. Otherwise each would be alone,
        # and the limit would never apply.
        await asyncio.sleep(0)
        if self._under_way > self._max_under_way:
            raise self._overloaded()
        request = Request(request_id, content, client, headers)
        try:
            if route.heavy:
                async with self._heavy:
                    return await asyncio.to_thread(route.handle, request)
            return route.handle(request)
        except ValidationError as error:
            raise invalid_request(error) from error

    def _overloaded(self) -> Refusal:
        self._metrics.overloaded.inc()
        return Refusal(
            429, "overloaded",
            f"{self._max_under_way} requests are under way. Ask again in a second.",
            headers={"Retry-After": "1"},
        )  # fmt: skip


def _refuse(refusal: Refusal, request_id: str, label: str) -> Response:
    """Log the refusal, without any of the client's input, and return its response."""
    fields: dict[str, Any] = {
        "request_id": request_id, "path": label, "status": refusal.status, "error": refusal.error,
    }  # fmt: skip
    if refusal.status >= 500:
        logger.warning("request failed", extra=fields | {"detail": refusal.detail})
    else:
        logger.info("request refused", extra=fields)
    return Response(refusal.body(request_id), refusal.status, headers=refusal.headers)


def _require_json(headers: dict[bytes, bytes]) -> None:
    given = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if given != b"application/json":
        raise Refusal(
            415, "wrong content type", "Send JSON with the header Content-Type: application/json."
        )
